// The cameras of this viewer, all or those of a wall, as tiles that play while they are on the screen.

import type { Stream } from '../api';
import { writeAddress, type WallAddress } from '../address';
import { h, Ends, type View } from '../dom';
import { prefer, preferences } from '../preferences';
import { messageOf, type Session } from '../session/session';
import { type Shell } from '../shell';
import { matching, Roster } from '../roster';
import { text } from '../text';
import { wallBar } from './bar';
import { chooser } from './chooser';
import { editWall } from './editor';
import { columns, movingTiles, picked, tileWidth } from './grid';
import { KeptWalls } from './kept';
import { Tile } from './tile';
import { camerasOf, FAVOURITES, withFavourite, withWall, withoutWall, type Walls } from './walls';

const words = text.wall;
const GAP = 10;
/** How often the list of cameras is asked for again, in ms. */
const REFRESH = 60e3;
/** Tiles with moving pictures at once; the others on the screen show stills. */
const MOST_MOVING = 16;
/** Cameras that a link names; of larger walls it has the name only. */
const MOST_IN_LINK = 100;

/** What is shown. Kept between visits to the wall, so that coming back from a camera finds it as it was. */
interface Shown { wall: string | undefined; linked: readonly string[] | undefined; query: string; page: number; tiles: number | undefined; every: number }
let shown: Shown = { wall: undefined, linked: undefined, query: '', page: 0, tiles: undefined, every: 0 };
let last: { subject: string | undefined; roster: Roster } | undefined;

/** What an address names is shown so; a bare one leaves what was shown. */
function follow({ wall, cameras, tiles, page, find, every }: WallAddress): void {
  if (wall === undefined && !cameras && !tiles && !page && find === undefined && !every) return;
  shown = { wall: wall ?? (cameras && text.walls.linked), linked: cameras, query: find ?? '', page: (page ?? 1) - 1, tiles, every: every ?? 0 };
}

export function wallView(session: Session, shell: Shell, address: WallAddress): View {
  follow(address);
  const ends = new Ends();
  const grid = h('div', { class: 'grid' });
  const message = h('div', { class: 'wall-message', role: 'status' });
  const root = h('section', { class: 'wall', 'aria-label': words.title }, h('h1', { class: 'hidden-title' }, words.title), grid, message);
  const tiles = new Map<string, Tile>();
  const onScreen = new Set<string>();
  let moving = new Set<string>();
  if (!last || last.subject !== session.me?.subject) last = { subject: session.me?.subject, roster: new Roster() };
  const { roster } = last;
  const kept = new KeptWalls(session.me);

  const per = (): number => shown.tiles ?? preferences.tiles;
  /** The cameras of the wall that is shown; nothing for all cameras and for a wall that is not known. */
  const names = (): readonly string[] | undefined => (shown.wall === undefined ? undefined : shown.linked ?? camerasOf(kept.get(), shown.wall));
  const found = (): Stream[] => matching(shown.wall === undefined || names() ? picked(roster.streams ?? [], names()) : [], shown.query);
  const show = (change: Partial<Shown>): void => { Object.assign(shown, change); draw(); void more(); };
  /** Whether the known cameras fill what is shown; a search, and a wall until its cameras are found, look through all. */
  const enough = (): boolean => {
    const list = names();
    if (list) return picked(roster.streams ?? [], list).length === list.length;
    return shown.wall !== undefined || (!shown.query && (roster.streams?.length ?? 0) > (shown.page + 1) * per());
  };
  /** Reads cameras until they fill what is shown. */
  const more = async (): Promise<void> => {
    try { await roster.read(session.api, enough, draw, ends.signal); } catch { /* the next refresh tries again */ }
  };
  const all = async (grew: () => void): Promise<void> => {
    try { await roster.read(session.api, () => false, () => { grew(); draw(); }, ends.signal); } catch { /* as above */ }
  };
  const turn = (by: number): void => show({ page: Math.max(0, shown.page + by) });

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const name = (entry.target as HTMLElement).dataset['stream'] ?? '';
      if (entry.isIntersecting) onScreen.add(name); else onScreen.delete(name);
    }
    play();
  }, { rootMargin: '80px' });
  /** Tiles on the screen play, in a tab that is looked at: one in the background costs nothing. */
  const play = (): void => {
    const seen = document.hidden ? [] : [...tiles.keys()].filter((name) => onScreen.has(name));
    moving = movingTiles(seen, moving, MOST_MOVING);
    for (const [name, tile] of tiles) tile.visible(!document.hidden && onScreen.has(name), moving.has(name));
  };

  const keep = (walls: Walls): void => { kept.set(walls); draw(); };
  const walls = chooser({
    walls: () => kept.get(),
    chosen: () => shown,
    choose: (wall) => show({ wall, linked: undefined, page: 0 }),
    turnEvery: (every) => { show({ every }); carousel(); },
    edit: (name) => edit(name),
    keep,
    link: () => new URL(writeAddress({ ...addressOf(), tiles: per(), page: shown.page + 1, ...linkedCameras() }), location.href).href,
  });
  const bar = wallBar(walls.root, {
    query: shown.query,
    searched: (query) => show({ query, page: 0 }),
    turned: turn,
    sized: (tiles) => { prefer({ tiles }); show({ tiles, page: 0 }); },
  });
  shell.bar(bar.root);
  document.title = `${words.title} · ${text.brand}`;

  const addressOf = (): WallAddress => ({
    view: 'wall', ...(shown.wall !== undefined && { wall: shown.wall }), ...(shown.linked && { cameras: shown.linked }), ...(shown.tiles && { tiles: shown.tiles }),
    ...(shown.page > 0 && { page: shown.page + 1 }), ...(shown.query && { find: shown.query }), ...(shown.every > 0 && { every: shown.every }),
  });
  const linkedCameras = () => { const list = names(); return list?.length && list.length <= MOST_IN_LINK ? { cameras: list } : {}; };

  const edit = (name: string | undefined): void => editWall({
    wall: name === undefined ? undefined : { name, cameras: names() ?? [] },
    taken: (name) => camerasOf(kept.get(), name) !== undefined,
    cameras: () => (roster.streams ?? []).map((stream) => stream.name),
    all,
    save: (wall) => { kept.set(withWall(kept.get(), name, wall)); show({ wall: wall.name, linked: undefined, page: 0 }); },
    remove: name === undefined || name === FAVOURITES || !camerasOf(kept.get(), name) ? undefined
      : () => { kept.set(withoutWall(kept.get(), name)); show({ wall: undefined, linked: undefined, page: 0 }); },
  });

  const draw = (): void => {
    walls.show();
    const { streams, complete } = roster;
    if (!streams) return;
    const cameras = found();
    const pages = Math.max(1, Math.ceil(cameras.length / per()));
    // A page further on comes with the rest of the list.
    if (complete || enough()) shown.page = Math.min(shown.page, pages - 1);
    const of = shown.wall === undefined ? streams.length : names()?.length ?? 0;
    const partial = !complete && shown.wall === undefined;
    bar.tell(partial && !shown.query ? words.atLeast(of) : cameras.length === of ? words.count(of) : words.found(cameras.length, of), cameras.length, shown.page, per());
    reconcile(cameras.slice(shown.page * per(), (shown.page + 1) * per()));
    message.replaceChildren(...(cameras.length ? [] : complete || enough() ? nothingShown() : [h('p', { class: 'quiet' }, words.loading)]));
    layout();
    const address = writeAddress(addressOf());
    if (address !== (location.hash || '#/')) history.replaceState(history.state, '', address);
  };

  const nothingShown = (): HTMLElement[] => {
    if (roster.streams?.length === 0) return nothing(session);
    if (shown.query) return [h('h2', {}, words.noMatch(shown.query)), press(words.clear, () => { bar.find(''); show({ query: '' }); })];
    const { wall } = shown;
    const list = names();
    if (!list) return [h('h2', {}, text.walls.unknown(wall ?? '')), h('p', {}, text.walls.unknownLead), press(text.top.wall, () => show({ wall: undefined, page: 0 }))];
    if (list.length) return [h('h2', {}, text.walls.absent(list.length)), press(text.top.wall, () => show({ wall: undefined, linked: undefined, page: 0 }))];
    return [h('h2', {}, text.walls.empty), h('p', {}, text.walls.emptyLead), press(text.walls.choose, () => edit(wall))];
  };

  const reconcile = (wanted: readonly Stream[]): void => {
    const here = new Set(wanted.map((stream) => stream.name));
    for (const [name, tile] of tiles) if (!here.has(name)) { watcher.unobserve(tile.root); onScreen.delete(name); tile.close(); tiles.delete(name); }
    const favourites = new Set(kept.get().favourites);
    wanted.forEach((stream, nth) => {
      let tile = tiles.get(stream.name);
      if (!tile) { tile = new Tile(session, stream, (on) => keep(withFavourite(kept.get(), stream.name, on))); tiles.set(stream.name, tile); }
      if (grid.children[nth] !== tile.root) grid.insertBefore(tile.root, grid.children[nth] ?? null);
      tile.favourite(favourites.has(stream.name));
      watcher.observe(tile.root);
    });
    play();
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

  let turning: ReturnType<typeof setInterval> | undefined;
  const carousel = (): void => {
    clearInterval(turning);
    turning = shown.every > 0 ? setInterval(() => {
      // Whoever works with the page keeps the one that is shown.
      if (document.hidden || document.querySelector('dialog[open], .panel:not([hidden])') || document.fullscreenElement?.classList.contains('tile')) return;
      show({ page: (shown.page + 1) % Math.max(1, Math.ceil(found().length / per())) });
    }, shown.every * 1000) : undefined;
  };
  carousel();
  ends.add(() => clearInterval(turning));

  const load = async (): Promise<void> => {
    try {
      if (await roster.refresh(session.api, ends.signal) || tiles.size === 0) draw();
      await more();
    } catch (error) {
      if (ends.signal.aborted || roster.streams) return;
      message.replaceChildren(h('h2', {}, words.failed), h('p', {}, messageOf(error)), h('button', { type: 'button', class: 'button primary', on: { click: () => void load() } }, words.retry));
    }
  };

  if (roster.streams) queueMicrotask(draw);
  else message.append(h('p', { class: 'quiet' }, words.loading));
  void load();
  ends.every(REFRESH, () => { if (!document.hidden && session.standing === 'in') void load(); });
  ends.listen(session, 'change', () => { if (session.standing === 'in') void load(); });
  ends.listen(window, 'storage', (event: StorageEvent) => { if (kept.concerns(event)) draw(); });
  ends.listen(document, 'visibilitychange', play);
  ends.listen(document, 'keydown', (event: KeyboardEvent) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement || event.target instanceof HTMLSelectElement;
    if (event.key === '/' && !typing) { event.preventDefault(); bar.focus(); }
  });
  ends.add(() => { watcher.disconnect(); sized.disconnect(); for (const tile of tiles.values()) tile.close(); });
  return { root, close: () => ends.all() };
}

const press = (name: string, act: () => void): HTMLElement => h('button', { type: 'button', class: 'button', on: { click: act } }, name);

function nothing(session: Session): HTMLElement[] {
  const groups = session.me?.groups ?? [];
  return [h('h2', {}, words.none), h('p', {}, words.noneLead(session.me?.subject ?? '')), h('p', { class: 'mono' }, groups.length ? groups.join(', ') : text.session.noGroups)];
}
