// What is recorded, asked for piece by piece as the time line needs it: hour by hour where that is exact and cheap, and
// in samples where a month of two-second fragments would be a million rows. The newest hour is kept up to date. What a
// policy keeps from the viewer is left alone for a while: policies may cover a part of the archive only. After any other
// failure nothing is asked for until a pause is over, which grows.

import { Refused, retryAfterOf, type Api } from '../api';
import { Pause } from '../play/trouble';
import { now } from '../present';
import { indexAt, join, merge, spansOf, usualStep, type Piece, type Span } from './coverage';
import { endOf, type View } from './scale';

const HOUR = 3600e3;
/** Up to this span every fragment is listed. */
export const EXACT = 26 * HOUR;
/** Long enough to catch a start of the longest fragment there can be. */
const PROBE = 25e3;
const BUCKETS = [HOUR / 4, HOUR / 2, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR];
const AT_ONCE = 3;

/** How long a refused part is not asked for again, in ms. */
const CLOSED = 60e3;

interface Hour { pieces: Piece[]; spans: Span[]; until: number }
export interface Drawn { readonly exact: readonly Span[]; readonly sampled: readonly Span[]; readonly loading: readonly Span[] }

/** Which buckets to sample for a view, at most about 130 of them. */
export const bucketFor = (span: number): number => BUCKETS.find((bucket) => span / bucket <= 130) ?? 12 * HOUR;

export class Recordings extends EventTarget {
  failed = false;
  step = 2000;
  private readonly hours = new Map<number, Hour>();
  private readonly samples = new Map<string, boolean>();
  private wanted: (() => Promise<void>)[] = [];
  private running = 0;
  private readonly busy = new Set<string>();
  private readonly closed = new Map<string, number>();
  private readonly pause = new Pause();
  private readonly away = new AbortController();
  private readonly api: Api;
  private readonly awake: () => boolean;
  private readonly name: string;
  readonly keeps: number;
  readonly allowed: boolean;

  /** `awake`: whether somebody is signed in; while nobody is, nothing is asked for. */
  constructor(api: Api, awake: () => boolean, name: string, keeps: number, allowed: boolean) {
    super();
    this.api = api;
    this.awake = awake;
    this.name = name;
    this.keeps = keeps;
    this.allowed = allowed;
  }

  /** The oldest moment that the stream still keeps. */
  get oldest(): number { return now() - this.keeps; }

  /** There is reason to think that the gateway answers again. */
  resume(): void { this.pause.end(); this.dispatchEvent(new Event('change')); }

  close(): void { this.away.abort(); this.wanted = []; }

  /** Asks for what a view lacks; the newest first, and forgets what the last view lacked. */
  cover(view: View): void {
    if (!this.allowed || !this.awake() || !this.pause.isOver(now())) return;
    this.wanted = [];
    if (view.span <= EXACT) for (const hour of this.hoursIn(view.start, endOf(view)).reverse()) this.wantHour(hour);
    else for (const bucket of this.bucketsIn(view).reverse()) this.wantSample(bucket, bucketFor(view.span));
    this.pump();
  }

  /** Every fragment between two times, once they are there. */
  async ensure(from: number, to: number): Promise<Piece[]> {
    for (const hour of this.hoursIn(from, to)) if (!this.fresh(hour)) await this.loadHour(hour);
    return this.piecesIn(from, to);
  }

  /** Whether every fragment between two times is known. */
  knows(from: number, to: number): boolean { return this.hoursIn(from, to).every((hour) => this.hours.has(hour)); }

  /** The known fragments that begin between two times, and the one running at the first. */
  piecesIn(from: number, to: number): Piece[] {
    const pieces = this.hoursIn(from - 20e3, to).flatMap((hour) => this.hours.get(hour)?.pieces ?? []);
    return pieces.slice(Math.max(0, indexAt(pieces, from)), indexAt(pieces, to) + 1);
  }

  /** What is known to be recorded at a moment: the fragment, `false` for a gap, nothing if not known. */
  at(at: number): Piece | false | undefined {
    const hour = this.hours.get(floor(at));
    if (!hour || at > hour.until) return undefined;
    const pieces = this.piecesIn(at, at);
    const piece = pieces[indexAt(pieces, at)];
    return piece && at < piece.start + Math.max(piece.length, this.step) + 100 ? piece : false;
  }

  /** When recording goes on after a moment, asked for in growing steps; nothing if it does not. */
  async next(after: number): Promise<number | undefined> {
    if (!this.allowed) return undefined;
    let from = after;
    for (const reach of [HOUR, 6 * HOUR, 24 * HOUR, 24 * HOUR, 24 * HOUR]) {
      const to = Math.min(from + reach, now());
      if (to <= from) return undefined;
      const pieces = reach === HOUR ? await this.ensure(from, to) : await this.list(from, to);
      const found = pieces.find((piece) => piece.start > after);
      if (found) return found.start;
      from = to;
    }
    return undefined;
  }

  /** Whether a policy keeps a part of a view from the viewer. */
  refused(view: View): boolean {
    const hidden = (key: string) => (this.closed.get(key) ?? 0) > now();
    if (view.span <= EXACT) return this.hoursIn(view.start, endOf(view)).some((hour) => hidden(`h${hour}`) && !this.hours.has(hour));
    const bucket = bucketFor(view.span);
    return this.bucketsIn(view).some((at) => hidden(`${bucket}:${at}`));
  }

  /** What to draw of a view. */
  drawn(view: View): Drawn {
    const from = Math.max(view.start, this.oldest);
    const to = Math.min(endOf(view), now());
    const hours = this.hoursIn(from, to);
    const exact = join(hours.flatMap((hour) => this.hours.get(hour)?.spans ?? []), Math.max(300, this.step * 0.3));
    if (view.span <= EXACT) {
      const loading = this.allowed && !this.failed ? hours.filter((hour) => !this.hours.has(hour) && !this.closed.has(`h${hour}`)).map((hour) => ({ from: Math.max(hour, from), to: Math.min(hour + HOUR, to) })) : [];
      return { exact, sampled: [], loading };
    }
    const bucket = bucketFor(view.span);
    const state = (at: number) => this.samples.get(`${bucket}:${at}`);
    const range = (at: number): Span => ({ from: Math.max(at, from), to: Math.min(at + bucket, to) });
    const buckets = this.bucketsIn(view);
    const known = (at: number) => this.knows(at, Math.min(at + bucket, now()) - 1);
    return {
      exact,
      sampled: join(buckets.filter((at) => state(at) && !known(at)).map(range), 1),
      loading: this.allowed && !this.failed ? join(buckets.filter((at) => state(at) === undefined && !known(at) && !this.closed.has(`${bucket}:${at}`)).map(range), 1) : [],
    };
  }

  private hoursIn(from: number, to: number): number[] {
    const hours: number[] = [];
    const last = Math.min(to, now());
    for (let hour = floor(Math.max(from, this.oldest)); hour <= last; hour += HOUR) hours.push(hour);
    return hours;
  }

  private bucketsIn(view: View): number[] {
    const bucket = bucketFor(view.span);
    const buckets: number[] = [];
    const last = Math.min(endOf(view), now() - PROBE);
    for (let at = Math.floor(Math.max(view.start, this.oldest) / bucket) * bucket; at <= last; at += bucket) buckets.push(at);
    return buckets;
  }

  private fresh(hour: number): boolean {
    const known = this.hours.get(hour);
    // What is being recorded is asked for again every three seconds; KVS lists a fragment about a second after it ended.
    return !!known && (known.until >= hour + HOUR + 30e3 || now() - known.until < 3000);
  }

  private wantHour(hour: number): void {
    if (!this.fresh(hour)) this.want(`h${hour}`, () => this.loadHour(hour));
  }

  private wantSample(at: number, bucket: number): void {
    const key = `${bucket}:${at}`;
    if (this.samples.has(key)) return;
    this.want(key, async () => {
      const from = Math.max(at, this.oldest + 1000);
      this.samples.set(key, (await this.list(from, from + PROBE)).length > 0);
    });
  }

  private async loadHour(hour: number): Promise<void> {
    const known = this.hours.get(hour);
    const until = now();
    const from = known ? Math.max(hour, known.until - 30e3) : Math.max(hour, this.oldest + 1000);
    const to = Math.min(hour + HOUR - 1, until);
    const listed = to > from ? await this.list(from, to) : [];
    const pieces = merge(known?.pieces ?? [], listed);
    if (pieces.length > 1) this.step = usualStep(pieces.slice(-200));
    this.hours.set(hour, { pieces, spans: spansOf(pieces), until });
    this.dispatchEvent(new Event('change'));
  }

  private async list(from: number, to: number): Promise<Piece[]> {
    const fragments = await this.api.fragments(this.name, Math.floor(from), Math.ceil(to), this.away.signal);
    return fragments.map(({ start, length, bytes }) => ({ start, length, bytes })).sort((a, b) => a.start - b.start);
  }

  private want(key: string, load: () => Promise<void>): void {
    if (this.busy.has(key) || (this.closed.get(key) ?? 0) > now()) return;
    this.wanted.push(async () => {
      if (this.busy.has(key)) return;
      this.busy.add(key);
      try {
        await load();
        this.closed.delete(key);
        this.pause.end();
        this.tell(false);
      } catch (error) {
        if (error instanceof Refused && error.status === 403) { this.closed.set(key, now() + CLOSED); this.tell(false); }
        else if (!this.away.signal.aborted) {
          // What is still wanted would fail as well.
          this.wanted = [];
          this.pause.failed(now(), retryAfterOf(error));
          this.tell(true);
        }
      } finally { this.busy.delete(key); }
    });
  }

  private tell(failed: boolean): void {
    this.failed = failed;
    this.dispatchEvent(new Event('change'));
  }

  private pump(): void {
    while (this.running < AT_ONCE) {
      const next = this.wanted.shift();
      if (!next) return;
      this.running += 1;
      void next().finally(() => { this.running -= 1; this.pump(); });
    }
  }
}

const floor = (at: number): number => Math.floor(at / HOUR) * HOUR;
