// What the page asks the gateway for, and how a refusal reads. The only file that knows paths and headers.

import { noteDate } from './present';
import { text } from './text';

export interface Issuer {
  readonly issuer: string; readonly client_id: string; readonly scope?: string;
  /** Without the endpoints the page asks the issuer itself (OpenID Connect Discovery). */
  readonly authorization_endpoint?: string; readonly token_endpoint?: string;
}
export interface Config { readonly version: string; readonly issuers: readonly Issuer[] }
export interface Me { readonly subject: string; readonly issuer: string; readonly groups: readonly string[]; readonly expires?: string }
export interface Stream {
  readonly name: string; readonly arn: string; readonly status: string | null; readonly created: string | null;
  readonly retention_hours: number | null; readonly media_type?: string | null; readonly actions: readonly string[];
  /** When watching ends by policy within the next day; told by the page of one stream only. */
  readonly ends?: string | null;
}
/** One fragment: when it began at the server, how long it is (last frame minus first), how many bytes. Times in ms. */
export interface Fragment { readonly number: string; readonly start: number; readonly length: number; readonly bytes: number }
export interface Playlist { readonly url: string; readonly text: string }

/** The gateway said no, or nothing at all (`status` 0). */
export class Refused extends Error {
  readonly status: number;
  readonly type: string;
  readonly retryAfter: number | undefined;
  constructor(status: number, type: string, message: string, retryAfter?: number) {
    super(message);
    this.status = status;
    this.type = type;
    this.retryAfter = retryAfter;
  }
}

const iso = (at: number): string => new Date(at).toISOString();

export class Api {
  private readonly authorization: () => string | undefined;
  private readonly doubted: () => void;

  /** `authorization` gives the header's value, if there is one; `doubted` is called on every 401. */
  constructor(authorization: () => string | undefined, doubted: () => void) {
    this.authorization = authorization;
    this.doubted = doubted;
  }

  config = async (): Promise<Config> => (await this.ask('/console/config.json', {}, undefined)).json();
  me = async (token = this.authorization()): Promise<Me> => this.object(await this.ask('/console/me', {}, token, true));

  async streams(signal?: AbortSignal): Promise<Stream[]> {
    const streams: Stream[] = [];
    for (let path: string | undefined = '/streams'; path;) {
      const page: { streams: Stream[]; next?: string | null } = await this.object(await this.get(path, signal));
      streams.push(...page.streams);
      path = page.next ? `/streams?next=${encodeURIComponent(page.next)}` : undefined;
    }
    return streams.toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  }

  stream = async (name: string, signal?: AbortSignal): Promise<Stream> => this.object(await this.get(this.path(name), signal));

  async fragments(name: string, start: number, end: number, signal?: AbortSignal): Promise<Fragment[]> {
    type Row = { number: string; server_start: string; length_ms: number; bytes: number };
    const answer = await this.get(this.path(name, 'fragments', { start: iso(start), end: iso(end) }), signal);
    const { fragments } = await this.object<{ fragments: Row[] }>(answer);
    return fragments.map((row) => ({ number: row.number, start: Date.parse(row.server_start), length: row.length_ms, bytes: row.bytes }));
  }

  /** A picture: now, or at a time. */
  async snapshot(name: string, options: { at?: number; width?: number; height?: number; maxAge?: number }, signal?: AbortSignal): Promise<Blob> {
    const { at, width, height, maxAge } = options;
    const query = { ...(at !== undefined && { at: iso(at) }), ...(width && height && { width, height }), ...(maxAge !== undefined && { max_age: maxAge }) };
    return (await this.get(this.path(name, 'snapshot.jpg', query), signal)).blob();
  }

  /**
   * The master playlist of live, or of a range, and the address it has: a capability, so players need no header from there on.
   * It is asked for by KVS's own call, since fetch would repeat our Authorization header after the redirect of `live.m3u8`,
   * and two credentials in one request are refused. The parameters are those of `live.m3u8` and `vod.m3u8`, so that the
   * console shares its sessions with everybody who opens those.
   */
  async playlist(name: string, range: { start: number; end: number } | undefined, signal?: AbortSignal): Promise<Playlist> {
    const seconds = range && { StartTimestamp: range.start / 1000, EndTimestamp: range.end / 1000 };
    const asked = JSON.stringify({
      StreamName: name, PlaybackMode: range ? 'ON_DEMAND' : 'LIVE', ContainerFormat: 'FRAGMENTED_MP4', DiscontinuityMode: 'ON_DISCONTINUITY', DisplayFragmentTimestamp: 'ALWAYS',
      HLSFragmentSelector: { FragmentSelectorType: 'SERVER_TIMESTAMP', ...(seconds && { TimestampRange: seconds }) },
      MaxMediaPlaylistFragmentResults: range ? 5000 : 5, Expires: 43200,
    });
    const answer = await this.checked(await this.raw('/getHLSStreamingSessionURL', signal, this.authorization(), asked));
    const { HLSStreamingSessionURL: found } = await this.object<{ HLSStreamingSessionURL: string }>(answer);
    // The gateway may be known by several names; the page stays with the one it came from.
    const url = new URL(new URL(found, location.href).pathname, location.origin).href;
    return { url, text: await (await this.checked(await this.raw(url, signal, undefined))).text() };
  }

  /** A clip as it streams in. */
  clip = (name: string, start: number, end: number, signal: AbortSignal): Promise<Response> =>
    this.get(this.path(name, 'clip.mp4', { start: iso(start), end: iso(end) }), signal);

  private path(name: string, tail?: string, query: Record<string, string | number> = {}): string {
    const search = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)])).toString();
    return `/streams/${encodeURIComponent(name)}${tail ? `/${tail}` : ''}${search ? `?${search}` : ''}`;
  }

  private get(path: string, signal?: AbortSignal): Promise<Response> {
    return this.ask(path, signal ? { signal } : {}, this.authorization());
  }

  private async ask(path: string, options: { signal?: AbortSignal }, token: string | undefined, quiet = false): Promise<Response> {
    const sent = Date.now();
    const answer = await this.raw(path, options.signal, token);
    if (path === '/streams' || path === '/console/me') noteDate(answer.headers.get('date'), sent, Date.now());
    return this.checked(answer, quiet);
  }

  private async raw(path: string, signal: AbortSignal | undefined, authorization: string | undefined, body?: string): Promise<Response> {
    const headers = { ...(authorization && { authorization }), ...(body && { 'content-type': 'application/json' }) };
    try {
      return await fetch(path, { ...(signal && { signal }), ...(body && { method: 'POST', body }), headers, credentials: 'same-origin' });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refused(0, 'Network', text.errors.network);
    }
  }

  private async checked(answer: Response, quiet = false): Promise<Response> {
    if (answer.ok) return answer;
    if (answer.status === 401 && !quiet) this.doubted();
    const body = await answer.text().catch(() => '');
    let message = text.errors.status(answer.status);
    try { message = (JSON.parse(body) as { Message?: string }).Message ?? message; } catch { /* the words above will do */ }
    const type = (answer.headers.get('x-amzn-errortype') ?? '').split(':')[0] ?? '';
    const wait = Number(answer.headers.get('retry-after'));
    throw new Refused(answer.status, type, message, answer.headers.has('retry-after') && Number.isFinite(wait) ? wait * 1000 : undefined);
  }

  private async object<T>(answer: Response): Promise<T> {
    // An access proxy whose own session ended answers 200 with its sign-in page.
    if (!(answer.headers.get('content-type') ?? '').includes('json')) throw new Refused(401, 'ProxyPage', text.errors.proxyPage);
    return answer.json() as Promise<T>;
  }
}
