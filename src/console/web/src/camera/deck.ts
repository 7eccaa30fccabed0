// The transport of one camera: live and archive as one thing to which one says "go there", "faster", "one frame back".
// Opens the ranges of the archive one after the other, says when it skips a gap, and never leaves a frozen picture unexplained.

import type { Stream } from '../api';
import { Ends } from '../dom';
import { Feed } from '../play/feed';
import { Stage } from '../play/stage';
import type { State } from '../play/state';
import { preferences, prefer } from '../preferences';
import { now } from '../present';
import type { Session } from '../session/session';
import { notice } from '../widgets';
import { text } from '../text';
import { duration, moment } from '../words';
import { rangeAfter, rangeFor, rangeFrom } from './archive';
import type { Recordings } from './recordings';

export const RATES = [0.25, 0.5, 1, 2, 4, 8];
/** Nearer to now than this, live is what is meant, in ms. */
const LIVE_EDGE = 8000;
const SKIP_WORTH_SAYING = 3000;

export class Deck extends EventTarget {
  readonly stage = new Stage();
  readonly feed: Feed;
  rate = 1;
  /** Below 0 while going backwards: how fast. */
  backwards = 0;
  paused = false;
  private pending: number | undefined;
  private reversing: ReturnType<typeof setInterval> | undefined;
  private lastWall: number | undefined;
  private lastTick = 0;
  private pausedAt = 0;
  private readonly recordings: Recordings;

  constructor(session: Session, stream: Stream, recordings: Recordings, ends: Ends) {
    super();
    this.recordings = recordings;
    this.stage.video.muted = !preferences.sound;
    this.feed = new Feed(session, this.stage, stream, true, {
      changed: (state) => { this.dispatchEvent(new CustomEvent<State>('state', { detail: state })); },
      first: () => this.begun(),
      ended: (last) => this.onward(last),
      empty: (wish) => { if (wish.is === 'archive') void this.overGap(wish.at); },
    });
    ends.every(250, () => this.tick());
    ends.add(() => { clearInterval(this.reversing); this.feed.close(); this.stage.close(); });
  }

  get live(): boolean { return this.feed.wish?.is !== 'archive'; }
  get moving(): boolean { return !this.paused; }

  /** When the shown picture was; while another is on its way, when that will be. */
  position(): number | undefined {
    if (this.pending !== undefined) return this.pending;
    const wall = this.feed.wall();
    if (wall !== undefined) return wall;
    return this.live ? now() : undefined;
  }

  goLive(): void {
    this.stopReversing();
    this.pending = undefined;
    this.lastWall = undefined;
    this.paused = false;
    this.setRate(1);
    this.feed.play({ is: 'live' });
    this.tell();
  }

  /** Goes to a moment and stays paused or playing as it was. */
  go(at: number): void {
    this.stopReversing();
    this.goTo(at);
  }

  shift(ms: number): void {
    const at = this.position();
    if (at === undefined || (this.live && ms > 0)) return;
    this.go(at + ms);
  }

  toggle(): void {
    const { video } = this.stage;
    this.stopReversing();
    if (!this.paused) {
      this.paused = true;
      this.pausedAt = now();
      video.pause();
    } else {
      this.paused = false;
      // Live does not wait: whoever paused it for longer goes on where he stopped, in the archive.
      const at = this.position();
      if (this.live && at !== undefined && now() - this.pausedAt > 4000) this.goTo(at);
      else void video.play().catch(() => undefined);
    }
    this.tell();
  }

  step(frames: number): void {
    const { video } = this.stage;
    if (!this.paused) { this.paused = true; this.pausedAt = now(); video.pause(); }
    this.stopReversing();
    const rate = this.feed.master?.frameRate || 25;
    if (this.live) { const at = this.position(); if (at !== undefined) this.goTo(at + (frames * 1000) / rate); }
    else video.currentTime = Math.max(0, video.currentTime + frames / rate);
    this.tell();
  }

  setRate(rate: number): void {
    this.rate = rate;
    this.stage.video.playbackRate = rate;
    this.tell();
  }

  /** K: pause. L: forwards, each time faster. J: backwards, each time faster. */
  shuttle(direction: 1 | -1): void {
    if (direction > 0) {
      this.stopReversing();
      if (this.paused) { this.toggle(); this.setRate(1); } else if (!this.live) this.setRate(Math.min(8, this.rate * 2));
      return;
    }
    this.backwards = this.backwards === 0 ? -1 : Math.max(-8, this.backwards * 2);
    this.stage.video.pause();
    this.reversing ??= setInterval(() => {
      const at = this.position();
      if (at === undefined || this.pending !== undefined || this.stage.video.seeking) return;
      this.goTo(Math.max(this.recordings.oldest + 5000, at + this.backwards * 250));
    }, 250);
    this.tell();
  }

  mute(muted: boolean): void {
    this.stage.video.muted = muted;
    prefer({ sound: !muted });
    this.tell();
  }

  private stopReversing(): void {
    if (!this.reversing) return;
    clearInterval(this.reversing);
    this.reversing = undefined;
    this.backwards = 0;
    if (!this.paused) void this.stage.video.play().catch(() => undefined);
  }

  private goTo(wanted: number): void {
    const at = Math.min(Math.max(wanted, this.recordings.oldest + 2000), now());
    if (at > now() - LIVE_EDGE && !this.backwards && !this.paused) { if (!this.live) this.goLive(); return; }
    this.lastWall = undefined;
    const reached = this.live ? undefined : this.feed.seek(at);
    if (reached === undefined) return this.open(at);
    this.skipped(at, reached);
    landed(at, reached);
    if (!this.paused && !this.backwards) void this.stage.video.play().catch(() => undefined);
    this.tell();
  }

  private open(at: number): void {
    this.pending = at;
    this.feed.play({ is: 'archive', ...rangeFor(at, now(), this.recordings.oldest), at });
    this.tell();
  }

  private begun(): void {
    const { wish } = this.feed;
    const { video } = this.stage;
    video.playbackRate = this.rate;
    if (this.paused || this.backwards) video.pause();
    const wall = this.feed.wall();
    if (wish?.is === 'archive' && this.pending !== undefined && wall !== undefined) {
      // The playlist was full before it reached the moment: ask for one that begins there.
      if (wall < this.pending - 30e3 && wish.start < this.pending - 25e3) {
        this.feed.play({ is: 'archive', ...rangeFrom(this.pending, now(), this.recordings.oldest), at: this.pending });
        return;
      }
      this.skipped(this.pending, wall);
      landed(this.pending, wall);
    }
    this.pending = undefined;
    this.lastWall = wall;
    this.tell();
  }

  private skipped(wanted: number, reached: number): void {
    if (reached > wanted + SKIP_WORTH_SAYING) notice(text.camera.skippedTo(moment(reached, now(), preferences.zone)));
  }

  /** A range came to its end: the next one, or live. */
  private onward(last: number): void {
    const { wish } = this.feed;
    if (wish?.is !== 'archive') return;
    if (last > now() - 2 * LIVE_EDGE) { notice(text.camera.caughtUp); return this.goLive(); }
    const range = rangeAfter(wish, last, now(), this.recordings.oldest);
    this.pending = range.start;
    this.lastWall = last;
    this.feed.play({ is: 'archive', ...range, at: range.start });
  }

  /** Nothing recorded in the whole range: on to where there is something. */
  private async overGap(at: number): Promise<void> {
    let next: number | undefined;
    try { next = await this.recordings.next(at); } catch { /* the list may be denied; the words below are true either way */ }
    if (this.feed.wish?.is !== 'archive') return;
    if (next === undefined) { notice(text.camera.nothingAfter, 8000); this.pending = undefined; this.feed.finish(); return this.tell(); }
    if (next > now() - LIVE_EDGE) return this.goLive();
    notice(text.camera.skippedTo(moment(next, now(), preferences.zone)));
    this.open(next);
  }

  private tick(): void {
    const wall = this.feed.wall();
    const elapsed = now() - this.lastTick;
    this.lastTick = now();
    if (this.pending === undefined && wall !== undefined && !this.live && !this.paused && !this.backwards) {
      const jump = this.lastWall === undefined ? 0 : wall - this.lastWall - elapsed * this.rate;
      if (jump > SKIP_WORTH_SAYING && !this.stage.video.seeking) notice(text.camera.gapSkipped(duration(jump)));
      this.lastWall = wall;
    }
  }

  private tell(): void { this.dispatchEvent(new Event('change')); }
}

/** Leaves a mark in the browser's own timings: where somebody wanted to go, and where that led. */
function landed(wanted: number, reached: number): void {
  performance.clearMarks('landed');
  performance.mark('landed', { detail: { wanted, reached } });
}
