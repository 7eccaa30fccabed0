// What is going on: what the player shows, what the gateway's cache had to do for it, and why something does not play.

import type { Stream } from '../api';
import { h, mark, say } from '../dom';
import { isFine, wordsOf } from '../play/state';
import type { Outcome } from '../play/tally';
import { now } from '../present';
import { preferences } from '../preferences';
import { iconButton } from '../widgets';
import { text } from '../text';
import { bytes, duration, moment } from '../words';
import type { Deck } from './deck';
import { beforeGap } from './live-window';

const words = text.info;

export class Info {
  readonly root: HTMLElement;
  private readonly rows = new Map<string, HTMLElement>();
  private readonly squares = h('div', { class: 'squares', role: 'img' });
  private readonly why = h('p', { class: 'info-why' });
  private readonly deck: Deck;
  /** As the gateway last described it. */
  stream: Stream;
  private readonly onClose: () => void;
  private readonly before: HTMLButtonElement;

  /** `go` shows the archive at a time. */
  constructor(deck: Deck, stream: Stream, onClose: () => void, go: (at: number) => void) {
    this.deck = deck;
    this.stream = stream;
    this.onClose = onClose;
    this.before = h('button', { type: 'button', class: 'button small', hidden: true, on: { click: () => { const at = beforeGap(this.stream); if (at !== undefined) go(at); } } }, words.beforeGap);
    const list = (...names: string[]) => h('dl', {}, ...names.map((name) => {
      const value = h('dd', {}, words.notYet);
      this.rows.set(name, value);
      return h('div', {}, h('dt', {}, name), value);
    }));
    this.root = h('aside', { class: 'info', 'aria-label': words.title, hidden: true },
      h('div', { class: 'info-head' }, h('h2', {}, words.title), iconButton('close', text.camera.close, () => this.onClose())),
      h('h3', {}, words.why), this.why,
      h('h3', {}, words.player), list(words.mode, words.codec, words.audio, words.resolution, words.frameRate, words.latency, words.age, words.buffer, words.dropped),
      h('h3', {}, words.network), list(words.cache), this.squares, list(words.firstByte, words.fragment, words.received, words.bitrate, words.firstPicture, words.reopened),
      h('h3', {}, words.session), list(words.live, words.gap, words.retention, words.mayDo, words.until), this.before);
    mark(this.root, 'tabindex', '-1');
  }

  show(): void {
    if (this.root.hidden) return;
    const { deck, stream } = this;
    const { feed, stage: { video } } = deck;
    const put = (name: string, value: string | undefined) => say(this.rows.get(name) as HTMLElement, value || words.notYet);
    const { master, tally } = feed;
    const codecs = (master?.codecs ?? '').split(',').filter(Boolean);
    put(words.mode, deck.live ? words.modes.live : words.modes.archive);
    put(words.codec, codecs.filter((codec) => !codec.startsWith('mp4a')).map(codecName).join(', '));
    put(words.audio, master && (codecs.filter((codec) => codec.startsWith('mp4a')).map(codecName).join(', ') || words.none));
    put(words.resolution, video.videoWidth ? `${video.videoWidth} × ${video.videoHeight}` : undefined);
    put(words.frameRate, master?.frameRate ? text.units.fps(Math.round(master.frameRate * 10) / 10) : undefined);
    const wall = feed.wall();
    put(words.latency, wall === undefined ? undefined : text.units.seconds(((now() - wall) / 1000).toFixed(1)));
    put(words.age, wall === undefined ? undefined : words.ago(duration(now() - wall)));
    this.only(words.latency, deck.live);
    this.only(words.age, !deck.live);
    put(words.buffer, text.units.seconds(ahead(video).toFixed(1)));
    const quality = video.getVideoPlaybackQuality?.();
    put(words.dropped, quality && `${quality.droppedVideoFrames} / ${quality.totalVideoFrames}`);
    const last = tally.recent.at(-1);
    put(words.cache, tally.fragments ? words.cacheHits(tally.counts.hit + tally.counts.collapsed, tally.fragments) : undefined);
    put(words.firstByte, last && text.units.ms(Math.round(last.firstByte)));
    put(words.fragment, last && words.fragmentMs(Math.round(last.ms), bytes(last.bytes)));
    put(words.received, bytes(tally.bytes));
    put(words.bitrate, tally.rate ? text.units.mbits(((tally.rate * 8) / 1e6).toFixed(2)) : undefined);
    put(words.firstPicture, feed.firstPicture === undefined ? undefined : text.units.ms(Math.round(feed.firstPicture)));
    put(words.reopened, String(feed.reopened));
    put(words.retention, stream.retention_hours ? duration(stream.retention_hours * 3600e3) : undefined);
    put(words.mayDo, stream.actions.map((action) => text.actions[action] ?? action).join(', '));
    const ends = stream.ends ? moment(Date.parse(stream.ends), now(), preferences.zone) : undefined;
    put(words.until, ends ?? words.noEnd);
    const { live } = stream;
    const time = (at: string) => moment(Date.parse(at), now(), preferences.zone);
    put(words.live, live ? (live.silent ? words.silent(time(live.to)) : words.since(time(live.from))) : undefined);
    put(words.gap, live?.gap ? words.gapWords(time(live.gap.from), time(live.gap.to)) : undefined);
    this.only(words.live, Boolean(live));
    this.only(words.gap, Boolean(live?.gap));
    mark(this.before, 'hidden', beforeGap(stream) === undefined || !stream.actions.includes('ListFragments'));
    const state = wordsOf(feed.state, now(), preferences.zone);
    say(this.why, [isFine(feed.state) ? words.fine : [state.title, state.detail].filter(Boolean).join('. '), feed.withoutSound, isFine(feed.state) && ends && words.ends(ends)].filter(Boolean).join(' '));
    this.drawSquares(tally.recent.map((fetched) => fetched.outcome));
  }

  /** A row that has no meaning now is not there. */
  private only(name: string, on: boolean): void { mark(this.rows.get(name)?.parentElement as HTMLElement, 'hidden', !on); }

  private drawSquares(outcomes: readonly Outcome[]): void {
    const signature = outcomes.join();
    if (this.squares.dataset['shown'] === signature) return;
    this.squares.dataset['shown'] = signature;
    this.squares.replaceChildren(...outcomes.map((outcome) => h('span', { class: `square ${outcome}`, title: words.cacheKinds[outcome] })));
    this.squares.setAttribute('aria-label', outcomes.map((outcome) => words.cacheKinds[outcome]).join(', '));
  }
}

function ahead(video: HTMLVideoElement): number {
  for (let n = 0; n < video.buffered.length; n++) {
    if (video.buffered.start(n) <= video.currentTime + 0.1 && video.buffered.end(n) >= video.currentTime) return video.buffered.end(n) - video.currentTime;
  }
  return 0;
}

const FAMILIES: readonly (readonly [RegExp, string])[] = [[/^avc[13]/, 'H.264'], [/^(hvc1|hev1)/, 'H.265'], [/^av01/, 'AV1'], [/^mp4a\.40/, 'AAC'], [/^opus/i, 'Opus']];

/** `H.264 (avc1.4d401e)`. */
export function codecName(codec: string): string {
  const family = FAMILIES.find(([pattern]) => pattern.test(codec.trim()))?.[1];
  return family ? `${family} (${codec.trim()})` : codec.trim();
}
