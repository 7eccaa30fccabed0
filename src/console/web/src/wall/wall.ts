// All cameras of this viewer, as tiles that play while they are on the screen.

import type { Stream } from '../api';
import { h, say, Ends, type View } from '../dom';
import { icon } from '../icons';
import { prefer, preferences } from '../preferences';
import { messageOf, type Session } from '../session/session';
import { type Shell } from '../shell';
import { iconButton } from '../widgets';
import { text } from '../text';
import { columns, matching, tileWidth } from './grid';
import { Tile } from './tile';

const words = text.wall;
const COUNTS = [1, 4, 9, 16];
const GAP = 10;
/** How often the list of cameras is asked for again, in ms. */
const REFRESH = 60e3;

// Kept between visits to the wall, so that coming back from a camera finds it as it was.
let query = '';
let page = 0;
let last: { subject: string | undefined; streams: Stream[] } | undefined;

export function wallView(session: Session, shell: Shell): View {
  const ends = new Ends();
  const grid = h('div', { class: 'grid' });
  const message = h('div', { class: 'wall-message', role: 'status' });
  const root = h('section', { class: 'wall', 'aria-label': words.title }, h('h1', { class: 'hidden-title' }, words.title), grid, message);
  const tiles = new Map<string, Tile>();
  let streams = last?.subject === session.me?.subject ? last?.streams : undefined;

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) tiles.get((entry.target as HTMLElement).dataset['stream'] ?? '')?.visible(entry.isIntersecting && !document.hidden);
  }, { rootMargin: '80px' });
  const bar = controls(() => draw());
  shell.bar(bar.root);
  document.title = `${words.title} · ${text.brand}`;

  const draw = (): void => {
    if (!streams) return;
    const found = matching(streams, query);
    const per = preferences.tiles;
    const pages = Math.max(1, Math.ceil(found.length / per));
    page = Math.min(page, pages - 1);
    const shown = found.slice(page * per, page * per + per);
    bar.tell(found.length, streams.length, page, per);
    reconcile(shown);
    message.replaceChildren(...(streams.length === 0 ? nothing(session) : found.length === 0 ? noMatch(() => { query = ''; bar.clear(); draw(); }) : []));
    layout();
  };

  const reconcile = (shown: readonly Stream[]): void => {
    const names = new Set(shown.map((stream) => stream.name));
    for (const [name, tile] of tiles) if (!names.has(name)) { watcher.unobserve(tile.root); tile.close(); tiles.delete(name); }
    shown.forEach((stream, nth) => {
      let tile = tiles.get(stream.name);
      if (!tile) { tile = new Tile(session, stream); tiles.set(stream.name, tile); }
      if (grid.children[nth] !== tile.root) grid.insertBefore(tile.root, grid.children[nth] ?? null);
      watcher.observe(tile.root);
    });
  };

  const layout = (): void => {
    const n = tiles.size;
    const { clientWidth: width, clientHeight: height } = root;
    const count = columns(n, width - 2 * GAP, height - 2 * GAP, GAP);
    grid.style.setProperty('--columns', String(count));
    grid.style.setProperty('--tile', `${tileWidth(n, count, width - 2 * GAP, height - 2 * GAP, GAP)}px`);
  };
  const sized = new ResizeObserver(layout);
  sized.observe(root);

  const load = async (): Promise<void> => {
    try {
      const fresh = await session.api.streams(ends.signal);
      const same = JSON.stringify(fresh) === JSON.stringify(streams);
      streams = fresh;
      last = { subject: session.me?.subject, streams: fresh };
      if (!same || tiles.size === 0) draw();
    } catch (error) {
      if (ends.signal.aborted || streams) return;
      message.replaceChildren(h('h2', {}, words.failed), h('p', {}, messageOf(error)), h('button', { type: 'button', class: 'button primary', on: { click: () => void load() } }, words.retry));
    }
  };

  if (streams) queueMicrotask(draw);
  else message.append(h('p', { class: 'quiet' }, words.loading));
  void load();
  ends.every(REFRESH, () => { if (!document.hidden && session.standing === 'in') void load(); });
  ends.listen(session, 'change', () => { if (session.standing === 'in') void load(); });
  // A tab in the background costs nothing: its tiles stop, and go on when it is looked at.
  ends.listen(document, 'visibilitychange', () => { for (const tile of tiles.values()) tile.visible(!document.hidden && onScreen(tile.root)); });
  ends.listen(document, 'keydown', (event: KeyboardEvent) => {
    if (event.key === '/' && !(event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement)) { event.preventDefault(); bar.focus(); }
  });
  ends.add(() => { watcher.disconnect(); sized.disconnect(); for (const tile of tiles.values()) tile.close(); });
  return { root, close: () => ends.all() };
}

function onScreen(element: Element): boolean {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function controls(changed: () => void) {
  const search = h('input', { type: 'search', class: 'search-field', placeholder: text.top.search, 'aria-label': text.top.searchKey, value: query, on: {
    input: () => { query = search.value; page = 0; changed(); },
    keydown: (event: KeyboardEvent) => { if (event.key === 'Escape') { search.value = query = ''; changed(); } },
  } });
  const count = h('span', { class: 'quiet count', role: 'status' });
  const turn = (by: number) => () => { page = Math.max(0, page + by); changed(); };
  const previous = iconButton('back', words.previous, turn(-1));
  const next = iconButton('next', words.next, turn(1));
  const range = h('span', { class: 'quiet' });
  const pager = h('div', { class: 'pager' }, previous, range, next);
  const sizes = h('div', { class: 'segments tiles-choice', role: 'radiogroup', 'aria-label': words.tiles }, ...COUNTS.map((n) =>
    h('label', { title: words.perPage(n) },
      h('input', { type: 'radio', name: 'tiles', value: n, 'aria-label': words.perPage(n), checked: preferences.tiles === n, on: { change: () => { prefer({ tiles: n }); page = 0; changed(); } } }),
      h('span', {}, n))));
  return {
    root: h('div', { class: 'wall-bar' }, h('div', { class: 'search' }, icon('search'), search), count, h('span', { class: 'spring' }), pager, sizes),
    tell(found: number, of: number, page: number, per: number): void {
      say(count, found === of ? words.count(of) : words.found(found, of));
      pager.hidden = found <= per;
      say(range, words.page(page * per + 1, Math.min(found, (page + 1) * per), found));
      previous.disabled = page === 0;
      next.disabled = (page + 1) * per >= found;
    },
    clear: () => { search.value = ''; },
    focus: () => search.focus(),
  };
}

function nothing(session: Session): HTMLElement[] {
  const groups = session.me?.groups ?? [];
  return [h('h2', {}, words.none), h('p', {}, words.noneLead(session.me?.subject ?? '')), h('p', { class: 'mono' }, groups.length ? groups.join(', ') : text.session.noGroups)];
}

const noMatch = (clear: () => void): HTMLElement[] =>
  [h('h2', {}, words.noMatch(query)), h('button', { type: 'button', class: 'button', on: { click: clear } }, words.clear)];
