// One camera on the wall: a still at once, moving pictures while the tile is on the screen, and always words.

import { type Stream } from '../api';
import { writeAddress } from '../address';
import { h, mark, say, Ends } from '../dom';
import { icon } from '../icons';
import { Feed } from '../play/feed';
import { isFine, wordsOf } from '../play/state';
import { Stage } from '../play/stage';
import { now } from '../present';
import { learnSize, preferences, stillSize } from '../preferences';
import type { Session } from '../session/session';
import { iconButton, toggleFullScreen } from '../widgets';
import { text } from '../text';

/** Tiles that left the screen for less than this are not worth opening again, in ms. */
const LINGER = 1500;

export class Tile {
  readonly root: HTMLElement;
  readonly feed: Feed;
  private readonly stage = new Stage();
  private readonly ends = new Ends();
  private readonly title = h('span', { class: 'state-title' });
  private readonly detail = h('span', { class: 'state-detail' });
  private readonly dot = h('span', { class: 'dot', 'aria-hidden': 'true' });
  private readonly star: HTMLButtonElement;
  private leaving: ReturnType<typeof setTimeout> | undefined;
  private asked = false;
  private readonly session: Session;
  private readonly stream: Stream;

  /** `starred` is called when the viewer makes it a favourite, or no longer. */
  constructor(session: Session, stream: Stream, starred: (on: boolean) => void) {
    this.session = session;
    this.stream = stream;
    const link = h('a', { class: 'tile-link', href: writeAddress({ view: 'camera', name: stream.name }), 'aria-label': text.wall.open(stream.name) });
    const status = h('div', { class: 'tile-status' }, this.dot, this.title);
    const full = iconButton('full', `${text.wall.enlarge}: ${stream.name}`, () => void toggleFullScreen(this.root), { class: 'icon-button tile-full' });
    this.star = iconButton('star', text.walls.favourite(stream.name), () => starred(this.star.getAttribute('aria-pressed') !== 'true'), { class: 'icon-button tile-star', 'aria-pressed': 'false' });
    this.root = h('article', { class: 'tile', 'data-stream': stream.name, 'aria-label': stream.name },
      h('div', { class: 'tile-picture' }, this.stage.root, h('div', { class: 'tile-words' }, icon('noSignal'), h('strong', {}), this.detail)),
      // Below the picture, since cameras write their own time and place into its corners.
      h('div', { class: 'tile-foot' }, h('h2', { class: 'tile-name' }, stream.name), status), link, this.star, full);
    this.feed = new Feed(session, this.stage, stream, false, {
      changed: () => this.show(),
      first: (ms) => { this.root.dataset['firstPictureMs'] ??= String(Math.round(ms)); performance.mark(`first-picture:${stream.name}`); },
    });
    this.ends.every(1000, () => this.show());
    this.ends.add(() => this.feed.close());
    this.ends.add(() => this.stage.close());
    this.show();
  }

  /** Comes onto the screen, or leaves it. `moving`: with moving pictures rather than stills. */
  visible(on: boolean, moving: boolean): void {
    clearTimeout(this.leaving);
    if (!on) { this.leaving = setTimeout(() => this.feed.stop(), LINGER); return; }
    const stills = !moving && this.stream.actions.includes('GetImages');
    const { wish } = this.feed;
    if (wish?.is === 'live' && (wish.stills ?? false) === stills) return;
    this.feed.play({ is: 'live', stills });
    if (!stills) void this.still();
  }

  /** Shows whether it is a favourite. */
  favourite(on: boolean): void { mark(this.star, 'aria-pressed', String(on)); }

  close(): void {
    clearTimeout(this.leaving);
    this.ends.all();
    this.root.remove();
  }

  /** The picture that bridges the time until the video runs. */
  private async still(): Promise<void> {
    if (this.asked || !this.stream.actions.includes('GetImages')) return;
    this.asked = true;
    try {
      const picture = await this.session.api.snapshot(this.stream.name, { maxAge: 30, ...stillSize(this.stream.name, 640) }, this.ends.signal);
      const { width, height } = await createImageBitmap(picture);
      learnSize(this.stream.name, width, height);
      if (this.feed.firstPicture === undefined) this.stage.poster(picture);
    } catch { /* the words say what is wrong, if it is more than this picture */ }
  }

  private show(): void {
    const { state } = this.feed;
    const words = wordsOf(state, now(), preferences.zone);
    say(this.title, words.title);
    say(this.detail, words.detail);
    say(this.root.querySelector('.tile-words strong') as HTMLElement, words.title);
    mark(this.root, 'data-state', state.is);
    // Stills that were wished for are nothing to look into.
    const wished = state.is === 'stills' && this.feed.wish?.is === 'live' && this.feed.wish.stills;
    mark(this.root, 'data-tone', wished ? undefined : words.tone);
    // Loud words over the picture only where the picture alone would mislead.
    const loud = !(isFine(state) || state.is === 'paused' || state.is === 'delayed' || state.is === 'stills' || (state.is === 'opening' && now() - state.since < 4000));
    mark(this.root, 'data-loud', loud);
    this.root.title = words.detail;
  }
}
