// What the page asks the gateway for, and how a refusal reads. The only file that knows paths and headers.

import { noteDate } from './present';
import { text } from './text';

/** An issuer that people sign in with. */
export interface Issuer { readonly issuer: string }
/** `sign_out`: where to sign out of the access proxy. */
export interface Config { readonly version: string; readonly issuers: readonly Issuer[]; readonly sign_out?: string | null }
/** `signed_in` is there if the session is the gateway's own: whether the provider gave a refresh token. */
export interface Me { readonly subject: string; readonly issuer: string; readonly groups: readonly string[]; readonly expires?: string; readonly signed_in?: { readonly renews: boolean } | null }
export interface Stream {
  readonly name: string; readonly arn: string; readonly status: string | null; readonly created: string | null;
  readonly retention_hours: number | null; readonly media_type?: string | null; readonly actions: readonly string[];
  /** When watching ends by policy within the next day; told by the page of one stream only. */
  readonly ends?: string | null;
  /** What live lists, while it is watched; only the page of one stream has it. It begins behind the last gap. */
  readonly live?: LiveWindow | null;
}
/** Times are RFC 3339. `silent`: nothing has been recorded since `to` for a while. */
export interface LiveWindow { readonly from: string; readonly to: string; readonly gap: { readonly from: string; readonly to: string } | null; readonly silent: boolean }
/** One fragment: when it began at the server, how long it is (last frame minus first), how many bytes. Times in ms. */
export interface Fragment { readonly number: string; readonly start: number; readonly length: number; readonly bytes: number }
export interface Playlist { readonly url: string; readonly text: string }
/** `plain`: an MP4 with one index at its front, which Windows' own player and QuickTime need. */
export type ClipFormat = 'mp4' | 'plain' | 'mkv';
/** What was recorded between two times in ms, as one file. `exact`: players show nothing ahead of `start`. */
export interface ClipRequest { readonly start: number; readonly end: number; readonly format: ClipFormat; readonly exact: boolean }
/** A clip before it is downloaded. `from` and `to` in ms: its true range, which is that of whole fragments. */
export interface ClipFile { readonly path: string; readonly name: string; readonly bytes: number; readonly from: number; readonly to: number }
/** Bytes of a file: from which one, of how many (0 if unknown), and the version that they belong to. */
export interface FilePart { readonly from: number; readonly total: number; readonly etag: string; readonly body: ReadableStream<Uint8Array<ArrayBuffer>> }

interface Sent { readonly signal?: AbortSignal; readonly method?: string; readonly body?: string; readonly headers?: Record<string, string>; readonly cache?: RequestCache }

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

/** How long the gateway asks to wait, in ms, if it does. */
export const retryAfterOf = (error: unknown): number | undefined => (error instanceof Refused ? error.retryAfter : undefined);

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
  me = async (token = this.authorization()): Promise<Me> => this.object(await this.ask('/console/me', {}, token, true), true);
  /** The caller of a cookie or an access proxy, or null; unlike `me` it causes no error in the browser's log. */
  session = async (): Promise<Me | null> => this.object(await this.ask('/console/session', {}, this.authorization(), true), true);

  /** New tokens for the gateway's session. */
  renew = async (): Promise<unknown> => this.object(await this.checked(await this.raw('/console/renew', undefined, { method: 'POST' }), true), true);
  /** Takes the gateway's session away; tells where to sign out at the provider. */
  signOut = async (): Promise<{ location: string | null }> => this.object(await this.checked(await this.raw('/console/sign-out', undefined, { method: 'POST' }), true), true);

  /** All cameras of the caller, sorted. */
  async streams(signal?: AbortSignal): Promise<Stream[]> {
    const streams: Stream[] = [];
    for (let next: string | undefined; ;) {
      const page = await this.streamPage(next, signal);
      streams.push(...page.streams);
      next = page.next;
      if (!next) return sorted(streams);
    }
  }

  /** Up to 1,000 cameras of the caller in the gateway's order, and what continues the list. */
  async streamPage(next?: string, signal?: AbortSignal): Promise<{ streams: Stream[]; next: string | undefined }> {
    const path = next ? `/streams?next=${encodeURIComponent(next)}` : '/streams';
    const page: { streams: Stream[]; next?: string | null } = await this.object(await this.get(path, signal));
    return { streams: page.streams, next: page.next ?? undefined };
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
    return this.carries('image/', await this.get(this.path(name, 'snapshot.jpg', query), signal)).blob();
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
    const sent = { ...(signal && { signal }), method: 'POST', body: asked, headers: { 'content-type': 'application/json' } };
    const answer = await this.checked(await this.raw('/getHLSStreamingSessionURL', this.authorization(), sent));
    const { HLSStreamingSessionURL: found } = await this.object<{ HLSStreamingSessionURL: string }>(answer);
    // The gateway may be known by several names; the page stays with the one it came from.
    const url = new URL(new URL(found, location.href).pathname, location.origin).href;
    return { url, text: await (await this.checked(await this.raw(url, undefined, signal ? { signal } : {}))).text() };
  }

  /** A clip as the gateway describes it, without its media. For a long range that is not cached this takes seconds. */
  async clip(name: string, { start, end, format, exact }: ClipRequest, signal: AbortSignal): Promise<ClipFile> {
    const more = { ...(format === 'plain' && { format }), ...(exact && format !== 'mkv' && { trim: 'exact' }) };
    const path = this.path(name, format === 'mkv' ? 'clip.mkv' : 'clip.mp4', { start: iso(start), end: iso(end), ...more });
    let answer = await this.raw(path, this.authorization(), { method: 'HEAD', signal });
    // A response to HEAD has no body, so the reason of a refusal is in the response to a request for one byte.
    if ([400, 403, 404].includes(answer.status)) answer = await this.raw(path, this.authorization(), { headers: { range: 'bytes=0-0' }, signal, cache: 'no-store' });
    const { headers } = this.carries('video/', await this.checked(answer));
    void answer.body?.cancel();
    const [from, to] = (headers.get('kvs-edge-range') ?? '').split('/').map((time) => Date.parse(time));
    const named = /filename="([^"]+)"/.exec(headers.get('content-disposition') ?? '')?.[1];
    return { path, name: named ?? `${name}.${format === 'mkv' ? 'mkv' : 'mp4'}`, bytes: totalOf(answer), from: from || start, to: to || end };
  }

  /** A file from a byte on; from its beginning if it is no longer the version of `etag` (If-Range, RFC 9110 13.1.5). */
  async part(path: string, from: number, etag: string | undefined, signal: AbortSignal): Promise<FilePart> {
    const headers: Record<string, string> = from && etag ? { range: `bytes=${from}-`, 'if-range': etag } : {};
    const answer = this.carries('video/', await this.checked(await this.raw(path, this.authorization(), { signal, headers, cache: 'no-store' })));
    const first = Number(/^bytes (\d+)-/.exec(answer.headers.get('content-range') ?? '')?.[1] ?? 0);
    return { from: answer.status === 206 ? first : 0, total: totalOf(answer), etag: answer.headers.get('etag') ?? '', body: answer.body as FilePart['body'] };
  }

  private path(name: string, tail?: string, query: Record<string, string | number> = {}): string {
    const search = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)])).toString();
    return `/streams/${encodeURIComponent(name)}${tail ? `/${tail}` : ''}${search ? `?${search}` : ''}`;
  }

  private get(path: string, signal?: AbortSignal): Promise<Response> {
    return this.ask(path, signal ? { signal } : {}, this.authorization());
  }

  private async ask(path: string, options: { signal?: AbortSignal }, token: string | undefined, quiet = false): Promise<Response> {
    const sent = Date.now();
    const answer = await this.raw(path, token, options);
    if (path === '/streams' || path === '/console/me' || path === '/console/session') noteDate(answer.headers.get('date'), sent, Date.now());
    return this.checked(answer, quiet);
  }

  private async raw(path: string, authorization: string | undefined, sent: Sent): Promise<Response> {
    // By these two headers access proxies know a script, and answer with 401 instead of their sign-in page.
    const headers = { accept: 'application/json, */*;q=0.5', 'x-requested-with': 'XMLHttpRequest', ...sent.headers, ...(authorization && { authorization }) };
    try {
      return await fetch(path, { ...sent, headers, credentials: 'same-origin', redirect: 'manual' });
    } catch (error) {
      if (sent.signal?.aborted) throw error;
      throw new Refused(0, 'Network', text.errors.network);
    }
  }

  private async checked(answer: Response, quiet = false): Promise<Response> {
    if (answer.ok) return answer;
    // The gateway redirects nothing that is asked for here: an access proxy leads to its sign-in.
    if (answer.type === 'opaqueredirect') throw this.proxyPage(quiet);
    if (answer.status === 401 && !quiet) this.doubted();
    const body = await answer.text().catch(() => '');
    let message = text.errors.status(answer.status);
    try { message = (JSON.parse(body) as { Message?: string }).Message ?? message; } catch { /* the words above will do */ }
    const type = (answer.headers.get('x-amzn-errortype') ?? '').split(':')[0] ?? '';
    const wait = Number(answer.headers.get('retry-after'));
    throw new Refused(answer.status, type, message, answer.headers.has('retry-after') && Number.isFinite(wait) ? wait * 1000 : undefined);
  }

  private async object<T>(answer: Response, quiet = false): Promise<T> {
    return this.carries('application/json', answer, quiet).json() as Promise<T>;
  }

  /** The same answer, if it is what was asked for; an access proxy whose own session ended answers 200 with its sign-in page. */
  private carries(type: string, answer: Response, quiet = false): Response {
    if (!(answer.headers.get('content-type') ?? '').startsWith(type)) throw this.proxyPage(quiet);
    return answer;
  }

  private proxyPage(quiet: boolean): Refused {
    if (!quiet) this.doubted();
    return new Refused(401, 'ProxyPage', text.errors.proxyPage);
  }
}

/** By name, with numbers in it as numbers. */
export const sorted = (streams: readonly Stream[]): Stream[] => streams.toSorted((a, b) => order.compare(a.name, b.name));
const order = new Intl.Collator('en', { numeric: true });

/** The length of the whole file, of which a response may carry a part. */
const totalOf = ({ headers }: Response): number => Number(/\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1] ?? headers.get('content-length')) || 0;
