// One stream on one stage, kept alive: opens it, watches that pictures move, opens it again when it broke, and always
// has a State that says what is going on. Tiles and the camera view are built on it.

import { Refused, retryAfterOf, type Stream } from '../api';
import { learnSize } from '../preferences';
import { now } from '../present';
import type { Session } from '../session/session';
import { text } from '../text';
import { attach, loadPlayer, support, type Attachment } from './attach';
import { mediaAt, readMaster, wallAt, type Master, type Piece } from './master';
import type { Stage } from './stage';
import { liveness, silentSince, type State } from './state';
import { Tally } from './tally';
import { backoff, backoffAlone, diagnose, Pause, unplayable } from './trouble';

/** What to play: live (`stills`: as new stills, without moving pictures), or a range beginning at `at`. Times in ms. */
export type Wish = { readonly is: 'live'; readonly stills?: boolean } | { readonly is: 'archive'; readonly start: number; readonly end: number; readonly at: number };

export interface Hooks {
  changed?(state: State): void;
  /** The range holds nothing: the receiver moves on, or finishes the feed. */
  empty?(wish: Wish): void;
  /** A recording came to its end. */
  ended?(lastWall: number): void;
  /** The first picture of a playback, after so many ms. */
  first?(ms: number): void;
}

const STILL_EVERY = 5000;
/** The same where stills were wished for, since many cameras are shown then. */
const STILL_OF_MANY_EVERY = 10e3;
/** A live player that was cut off for longer than this starts afresh: what it knows no longer meets what is listed, in ms. */
const CUT_OFF = 4000;
/** Live pictures that stand still for this long, though newer ones are listed, are opened again; the next time after twice as long, in ms. */
const STUCK = 6000;

export class Feed {
  state: State = { is: 'paused' };
  readonly tally = new Tally();
  master: Master | undefined;
  /** Why there is no sound though the camera sends some. */
  withoutSound: string | undefined;
  reopened = 0;
  firstPicture: number | undefined;
  wish: Wish | undefined;
  private attachment: Attachment | undefined;
  private opening: AbortController | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly beat: ReturnType<typeof setInterval>;
  private readonly away = new AbortController();
  private tries = 0;
  /** What stands in the way of the next opening; told once the pictures that are left have run out. */
  private trouble: State | undefined;
  private hindrance: State | undefined;
  private hinderedAt: number | undefined;
  private stuck = STUCK;
  private pictureOf: number | undefined;
  private deniedSince: number | undefined;
  /** When the token ends that the playback URL was made with, in ms. */
  private playableUntil = Infinity;
  private movedAt = 0;
  private position = -1;
  private moved = false;
  private readonly session: Session;
  private readonly stage: Stage;
  private readonly stream: Stream;
  private readonly sound: boolean;
  private readonly hooks: Hooks;

  /** `sound`: with the sound track, which a muted tile does not pay for. */
  constructor(session: Session, stage: Stage, stream: Stream, sound: boolean, hooks: Hooks) {
    this.session = session;
    this.stage = stage;
    this.stream = stream;
    this.sound = sound;
    this.hooks = hooks;
    void loadPlayer().catch(() => undefined);
    this.beat = setInterval(() => this.watch(), 500);
    const { signal } = this.away;
    addEventListener('online', () => this.again(['unreachable', 'troubled']), { signal });
    session.addEventListener('change', () => {
      if (session.standing === 'in') { this.again(['signedOut', 'denied']); this.prolong(); }
      else if (session.standing === 'ended') this.pauseFor({ is: 'signedOut' });
    }, { signal });
    stage.video.addEventListener('ended', () => { if (this.wish?.is === 'archive') { const last = this.wall(); this.set({ is: 'ended' }); if (last !== undefined) hooks.ended?.(last); } }, { signal });
  }

  play(wish: Wish): void {
    this.drop();
    this.wish = wish;
    this.tries = 0;
    this.moved = false;
    if (this.stream.actions.includes('GetHLSStreamingSessionURL')) void this.open();
    else if (wish.is === 'live' && this.stream.actions.includes('GetImages')) this.cannot(text.reason.stillsOnly);
    else this.set({ is: 'denied' });
  }

  /** Ends the playback and keeps its last frame on the stage. */
  stop(): void {
    this.wish = undefined;
    this.pauseFor({ is: 'paused' });
  }

  /** There is nothing more to play. */
  finish(): void { this.pauseFor({ is: 'ended' }); }

  close(): void {
    this.stop();
    clearInterval(this.beat);
    this.away.abort();
  }

  /** When the shown picture was, in ms. */
  wall(): number | undefined { return wallAt(this.pieces(), this.stage.video.currentTime); }
  pieces(): readonly Piece[] { return this.attachment?.pieces() ?? []; }
  get target(): number { return this.attachment?.target() ?? 2000; }

  /** Goes to a time in what is loaded; hands back the time it really went to, or nothing if that is not loaded. */
  seek(wall: number): number | undefined {
    const pieces = this.pieces();
    const first = pieces[0];
    if (!first || wall < first.wall - 50) return undefined;
    const media = mediaAt(pieces, wall);
    if (media === undefined) return undefined;
    this.stage.video.currentTime = media + 0.001;
    this.movedAt = now();
    return wallAt(pieces, media + 0.001);
  }

  private async open(): Promise<void> {
    const { wish } = this;
    if (!wish) return;
    if (wish.is === 'live' && wish.stills) return this.cannot(text.reason.stillsMany(STILL_OF_MANY_EVERY / 1000));
    clearTimeout(this.timer);
    this.timer = undefined;
    this.opening?.abort();
    const opening = (this.opening = new AbortController());
    const { signal } = opening;
    const since = now();
    this.playableUntil = this.session.end;
    if (!this.attachment && !this.trouble) this.set(wish.is === 'live' ? { is: 'opening', since } : { is: 'buffering', since });
    try {
      const range = wish.is === 'archive' ? wish : undefined;
      const playlist = await this.session.api.playlist(this.stream.name, range, signal);
      const master = readMaster(playlist.text, playlist.url);
      if (!master) throw new Refused(502, '', text.errors.status(502));
      this.master = master;
      learnSize(this.stream.name, master.width, master.height);
      const source = this.choose(master, playlist.url);
      if (!source) return;
      // Only now, so that a player that was cut off shows what it still holds while the gateway is away.
      this.detach();
      this.movedAt = now();
      this.position = -1;
      this.attachment = await attach(this.stage.video, source, range?.at, {
        fetched: (fetched) => { this.tally.note(fetched, performance.now()); this.unhindered(); },
        listed: () => { if (!signal.aborted) this.listed(); },
        hindered: (status) => this.hindered(status),
        fatal: (kind, status, detail) => { if (!signal.aborted) this.failed(kind, status, detail); },
      }, signal);
      this.stage.onFrame(() => { if (!signal.aborted) this.begun(now() - since); });
      this.start();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) await this.refused(error, signal);
      else this.later({ is: 'broken', why: text.reason.playerMissing }, 10e3);
    }
  }

  /** The session was renewed: a playback URL ends with the token it was made with, so the player gets one that lasts longer. */
  private prolong(): void {
    const { session, attachment, wish } = this;
    if (!attachment || !wish || session.end <= this.playableUntil) return;
    const { signal } = this.away;
    // Not all tiles at once, but well before the old one ends. Should it fail, the feed opens anew then.
    const spread = Math.max(0, Math.min(3000, (this.playableUntil - now()) / 3));
    this.playableUntil = session.end;
    setTimeout(async () => {
      try {
        const { url } = await session.api.playlist(this.stream.name, wish.is === 'archive' ? wish : undefined, signal);
        if (this.attachment === attachment) attachment.askBy(url);
      } catch { /* as above */ }
    }, Math.random() * spread);
  }

  /** Which playlist to play: all, or the pictures alone; nothing if this browser cannot. */
  private choose(master: Master, whole: string): string | undefined {
    const codecs = master.codecs.split(',');
    const isSound = (codec: string) => /^\s*(mp4a|opus|ac-3|ec-3|flac)/i.test(codec);
    const why = unplayable(codecs.filter((codec) => !isSound(codec)).join(','), this.supported());
    if (why) { this.cannot(why); return undefined; }
    this.withoutSound = unplayable(codecs.filter(isSound).join(','), this.supported()) && text.reason.audioDropped;
    return this.sound && !this.withoutSound ? whole : master.video;
  }

  private supported(): ((type: string) => boolean) | undefined {
    const { video } = this.stage;
    return support() ?? (video.canPlayType('application/vnd.apple.mpegurl') ? (type) => video.canPlayType(type) !== '' : undefined);
  }

  private start(): void {
    this.stage.video.play().catch((error: unknown) => {
      // Sound needs a click first in most browsers: pictures without it are better than nothing.
      if (error instanceof DOMException && error.name === 'NotAllowedError' && !this.stage.video.muted) { this.stage.video.muted = true; this.start(); }
    });
  }

  private begun(ms: number): void {
    this.firstPicture ??= ms;
    this.moved = true;
    this.deniedSince = undefined;
    this.trouble = undefined;
    this.unhindered();
    this.movedAt = now();
    this.hooks.first?.(ms);
    this.judge();
  }

  /** Twice a second: do pictures move? */
  private watch(): void {
    const { video } = this.stage;
    if (!this.attachment || !this.moved || !this.wish) return;
    // A player that only looks for a place to go on has not moved.
    const goesOn = video.currentTime !== this.position && !video.seeking;
    if (video.paused || video.ended || goesOn) this.movedAt = now();
    if (goesOn && !this.trouble) this.tries = 0;
    const played = video.currentTime - this.position;
    if (goesOn && played > 0 && played < 2) this.stuck = STUCK;
    this.position = video.currentTime;
    const still = now() - this.movedAt;
    const quiet = this.quietSince();
    // The gateway keeps a silent camera's playlist, so that players live through it: the player waits, nothing is reopened.
    if (quiet !== undefined) return this.set({ is: 'silent', last: quiet });
    if (still < 2500) return this.judge();
    this.set(this.trouble ?? this.hindrance ?? { is: this.wish.is === 'live' ? 'waiting' : 'buffering', since: this.movedAt });
    const patience = this.wish.is === 'live' && !this.hindrance ? this.stuck : 25e3;
    if (still > patience && !this.timer) {
      this.stuck = Math.min(25e3, this.stuck * 2);
      this.reopened += 1;
      void this.open();
    }
  }

  /** Since when the camera has sent nothing, if its playlist says so and the gateway can be reached. */
  private quietSince(): number | undefined {
    const newest = this.pieces().at(-1);
    if (this.wish?.is !== 'live' || !newest || this.trouble || this.hindrance) return undefined;
    return silentSince(newest.wall + newest.length * 1000, this.target, now());
  }

  private judge(): void {
    if (!this.wish || !this.attachment) return;
    if (this.stage.video.ended) return;
    if (this.wish.is === 'archive') return this.set({ is: 'archive' });
    const quiet = this.quietSince();
    if (quiet !== undefined) return this.set({ is: 'silent', last: quiet });
    const wall = this.wall();
    const behind = wall === undefined ? this.attachment.latency() : Math.max(0, now() - wall);
    const state = liveness(behind, this.target);
    // Far behind with newer pictures at hand: after a stall, or a tab that slept.
    const newest = this.pieces().at(-1);
    if (state.is === 'delayed' && newest && newest.media + newest.length - this.stage.video.currentTime > 8 * newest.length) this.attachment.toLive();
    this.set(state);
  }

  private failed(kind: 'network' | 'media', status: number | undefined, detail: string): void {
    // Sound and pictures fail one after the other, and again: once is enough, more would only put off the next opening.
    if (this.timer !== undefined) return;
    this.reopened += 1;
    this.tries += 1;
    // A recording goes on where it broke, not where it began.
    const wall = this.wall();
    if (this.wish?.is === 'archive' && this.moved && wall !== undefined) this.wish = { ...this.wish, at: wall };
    if (kind === 'media' && this.tries > 3) return this.cannot(`${text.reason.decode} (${detail})`);
    const trouble = diagnose(status ?? 0);
    const pause = trouble.is === 'unreachable' ? backoffAlone : backoff;
    const wait = this.tries === 1 ? 200 : pause(this.tries, Math.random());
    if (kind === 'network' && this.tries > 1 && (trouble.is === 'unreachable' || trouble.is === 'troubled')) return this.later({ is: trouble.is, until: now() + wait }, wait);
    // A URL that ran out, a gateway that restarted: asking for a new one settles most of it, or says what is wrong.
    this.later({ is: 'waiting', since: this.movedAt }, wait);
  }

  /** The player still tries by itself; should the pictures run out meanwhile, this is why. */
  private hindered(status: number | undefined): void {
    const trouble = diagnose(status ?? 0);
    if (trouble.is !== 'unreachable' && trouble.is !== 'troubled') return;
    this.hindrance = { is: trouble.is, until: 0 };
    this.hinderedAt ??= now();
  }

  private unhindered(): void { this.hindrance = this.hinderedAt = undefined; }

  /** The gateway is back: a live player that was cut off for long would look for pictures that are gone by now. */
  private listed(): void {
    const since = this.hinderedAt;
    this.unhindered();
    if (since === undefined || this.wish?.is !== 'live' || now() - since < CUT_OFF) return;
    this.reopened += 1;
    void this.open();
  }

  private async refused(error: Refused, signal: AbortSignal): Promise<void> {
    const trouble = diagnose(error.status, error.type, error.message, error.retryAfter);
    this.tries += 1;
    const wait = Math.max(error.retryAfter ?? 0, (trouble.is === 'unreachable' ? backoffAlone : backoff)(this.tries, Math.random()));
    switch (trouble.is) {
      case 'unreachable': case 'troubled': return this.later({ is: trouble.is, until: now() + wait }, wait);
      case 'busy': { const longer = Math.max(trouble.wait, wait); return this.later({ is: 'busy', until: now() + longer }, longer); }
      case 'signedOut': return this.pauseFor({ is: 'signedOut' });
      default: this.detach();
    }
    switch (trouble.is) {
      case 'denied': return this.denied();
      case 'broken': return this.later({ is: 'broken', why: trouble.why }, 60e3);
      case 'missing': return this.missing(signal);
    }
  }

  /** The viewer sees since when this is not permitted; policies and groups change, so it is tried again. */
  private denied(): void {
    if (this.moved) this.deniedSince ??= now();
    this.later({ is: 'denied', ...(this.deniedSince !== undefined && { since: this.deniedSince }) }, 30e3);
  }

  /** Nothing to play: is the camera silent, or gone? */
  private async missing(signal: AbortSignal): Promise<void> {
    const { wish } = this;
    if (wish?.is === 'archive') return this.hooks.empty?.(wish);
    try { await this.session.api.stream(this.stream.name, signal); } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && (error.status === 404 || error.status === 403)) return this.later({ is: error.status === 403 ? 'denied' : 'gone' }, 30e3);
    }
    if (this.state.is !== 'silent') this.set({ is: 'silent' });
    const last = await this.lastSeen(signal);
    if (signal.aborted) return;
    this.later(last === undefined ? { is: 'silent' } : { is: 'silent', last }, 10e3);
    if (typeof last === 'number' && !this.moved && this.stream.actions.includes('GetImages')) void this.lastPicture(last);
  }

  /** What the camera last saw says more than a black screen. */
  private async lastPicture(last: number): Promise<void> {
    if (this.pictureOf === last) return;
    this.pictureOf = last;
    try { this.stage.poster(await this.session.api.snapshot(this.stream.name, { at: Math.floor(last / 1000) * 1000 }, this.away.signal)); } catch { /* then it stays black */ }
  }

  private async lastSeen(signal: AbortSignal): Promise<number | 'long ago' | undefined> {
    if (this.state.is === 'silent' && this.state.last !== undefined) return this.state.last;
    if (!this.stream.actions.includes('ListFragments')) return undefined;
    try {
      for (const back of [600e3, 4 * 3600e3, 24 * 3600e3]) {
        const last = (await this.session.api.fragments(this.stream.name, now() - back, now(), signal)).at(-1);
        if (last) return last.start + last.length;
      }
      return 'long ago';
    } catch { return undefined; }
  }

  /** The browser cannot play it: stills, where they are allowed. */
  private cannot(why: string): void {
    this.drop();
    if (this.wish?.is !== 'live' || this.session.standing !== 'in' || !this.stream.actions.includes('GetImages')) return this.set({ is: 'unsupported', why });
    const hevc = why === text.reason.hevc;
    this.set({ is: 'stills', why: hevc ? text.reason.stillsHevc(STILL_EVERY / 1000) : why });
    void this.stills(new AbortController(), this.wish.stills ? STILL_OF_MANY_EVERY : STILL_EVERY);
  }

  private async stills(until: AbortController, every: number): Promise<void> {
    this.opening = until;
    const pause = new Pause();
    while (!until.signal.aborted) {
      let wait = every;
      try { this.stage.poster(await this.session.api.snapshot(this.stream.name, { maxAge: every / 1000 - 1 }, until.signal)); pause.end(); } catch (error) { wait = Math.max(wait, pause.failed(now(), retryAfterOf(error))); }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  private again(states: readonly State['is'][]): void { if (this.wish && states.includes(this.state.is)) void this.open(); }

  private later(state: State, wait: number): void {
    this.trouble = state;
    if (!this.attachment || now() - this.movedAt > 2500) this.set(state);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.open(), wait);
  }

  private pauseFor(state: State): void {
    this.drop();
    this.set(state);
  }

  private drop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.trouble = undefined;
    this.opening?.abort();
    this.opening = undefined;
    this.detach();
  }

  private detach(): void {
    this.stage.freeze();
    this.attachment?.detach();
    this.attachment = undefined;
  }

  private set(state: State): void {
    const changed = JSON.stringify(state) !== JSON.stringify(this.state);
    this.state = state;
    if (changed) this.hooks.changed?.(state);
  }
}
