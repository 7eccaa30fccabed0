// One camera: the picture, its transport, its time line, its clip, and the keys that drive them.

import { Refused, retryAfterOf, type Stream } from '../api';
import { writeAddress, type Address } from '../address';
import { h, mark, say, Ends, type View } from '../dom';
import { icon } from '../icons';
import { save } from '../download/sink';
import { isFine, wordsOf } from '../play/state';
import { Pause } from '../play/trouble';
import { now } from '../present';
import { onPreference, preferences } from '../preferences';
import { messageOf, type Session } from '../session/session';

import { type Shell } from '../shell';
import { dialog, notice, toggleFullScreen } from '../widgets';
import { text } from '../text';
import { duration, moment } from '../words';
import { ClipPanel } from './clip';
import { controls, jumpForm } from './controls';
import { Deck } from './deck';
import { fadeAtRest } from './full-screen';
import { Info } from './info';
import { actFor, type Acts } from './keys';
import { Recordings } from './recordings';
import { switcher } from './switcher';
import { Thumbnails } from './thumbnails';
import { Timeline, type Marks } from './timeline';

const words = text.camera;
/** An end of the permission that is nearer than this is worth a word in the bar, in ms. */
const SOON = 15 * 60e3;
/** How often the gateway is asked whether the permission still ends when it said, and what live lists, in ms. */
const ASK_AGAIN = 20e3;
/** A camera that is not there for this viewer, or does not answer, may be there later: how often it is tried at most, in ms. */
const ASK_LATER = 10e3;
type CameraAddress = Extract<Address, { view: 'camera' }>;

/** The view; it stands at once, and fills when the gateway has described the stream. */
export function cameraView(session: Session, shell: Shell, address: CameraAddress): View {
  const ends = new Ends();
  const root = h('section', { class: 'camera', 'aria-label': address.name }, h('p', { class: 'starting', role: 'status' }, text.signIn.checking));
  const pill = h('div', { class: 'pill', role: 'status' }, h('span', {}), h('span', { class: 'pill-detail' }));
  const ending = h('div', { class: 'pill', role: 'status', 'data-tone': 'warn', hidden: true });
  shell.bar(h('div', { class: 'camera-bar' },
    h('a', { class: 'icon-button', href: '#/', 'aria-label': words.back, title: words.back }, icon('back')), switcher(session, address.name, ends), pill, ending));
  document.title = `${address.name} · ${text.brand}`;
  let again: ReturnType<typeof setTimeout> | undefined;
  let waits = false;
  const pause = new Pause();
  ends.add(() => clearTimeout(again));
  const load = async (): Promise<void> => {
    clearTimeout(again);
    waits = false;
    try { build(session, root, pill, ending, await session.api.stream(address.name, ends.signal), address, ends); } catch (error) {
      if (ends.signal.aborted) return;
      const known = error instanceof Refused && (error.status === 404 || error.status === 403);
      // Somebody who is signed out gets nothing; it is tried again when somebody signs in.
      const wait = Math.max(ASK_LATER, pause.failed(now(), retryAfterOf(error)));
      again = session.standing === 'in' ? setTimeout(() => void load(), wait) : undefined;
      waits = true;
      root.replaceChildren(h('div', { class: 'wall-message' }, h('h1', {}, known ? words.notFound(address.name) : text.wall.failed), h('p', {}, known ? words.notFoundLead : messageOf(error)),
        known ? h('a', { class: 'button primary', href: '#/' }, words.back) : h('button', { type: 'button', class: 'button primary', on: { click: () => void load() } }, text.wall.retry)));
    }
  };
  ends.listen(session, 'change', () => { if (waits && session.standing === 'in') void load(); });
  void load();
  return { root, close: () => ends.all() };
}

function build(session: Session, root: HTMLElement, pill: HTMLElement, ending: HTMLElement, stream: Stream, address: CameraAddress, ends: Ends): void {
  const may = (action: string) => stream.actions.includes(action);
  const recordings = new Recordings(session.api, () => session.standing === 'in', stream.name, (stream.retention_hours ?? 24) * 3600e3, may('ListFragments'));
  const deck = new Deck(session, stream, recordings, ends);
  const marks: Marks = { in: address.from, out: address.to };
  const marked = () => { clip.show(); timeline.draw(); };
  const setMark = (end: 'in' | 'out') => {
    const at = deck.position();
    if (at === undefined) return;
    marks[end] = at;
    if (marks.in !== undefined && marks.out !== undefined && marks.in >= marks.out) marks[end === 'in' ? 'out' : 'in'] = undefined;
    marked();
  };
  const thumbnails = new Thumbnails(session, stream.name, may('GetImages'), ends);
  const go = (at: number) => { deck.go(at); timeline.reveal(at); };
  const timeline = new Timeline(recordings, {
    position: () => deck.position(), live: () => deck.live, moving: () => deck.moving || deck.backwards !== 0, go, shift: (ms) => { const at = deck.position(); if (at !== undefined) go(at + ms); },
  }, marks, thumbnails, marked, address.at ?? address.from, ends);
  const clip = new ClipPanel(session, stream, recordings, marks, setMark, marked, ends);
  const info = new Info(deck, stream, () => toggleInfo(false), go);
  const toggleInfo = (open = info.root.hidden !== false) => {
    info.root.toggleAttribute('hidden', !open);
    mark(bar.infoButton, 'aria-expanded', String(open));
    info.show();
    if (!open) bar.infoButton.focus();
  };
  const jump = () => { const box = dialog(words.jump, jumpForm(deck.position() ?? now(), recordings.oldest, (at) => { box.close(); go(at); })); };
  const doing = {
    info: () => toggleInfo(), help: () => void dialog(words.help, keyList()), jump, full: () => void toggleFullScreen(root),
    share: () => void share(deck, stream.name, marks), still: () => void still(deck, stream.name),
  };
  const bar = controls(deck, doing);
  const loud = h('div', { class: 'stage-words', role: 'status' }, icon('info'), h('strong', {}), h('span', {}));
  const stage = h('div', { class: 'camera-stage' }, deck.stage.root, loud, info.root);
  root.replaceChildren(stage, h('div', { class: 'desk' }, bar.root, timeline.root, clip.root));

  const show = () => { bar.show(); tell(deck, root, pill, loud); };
  ends.listen(deck, 'change', show);
  ends.listen(deck, 'state', show);
  fadeAtRest(root, ends);
  ends.listen(deck.stage.video, 'dblclick', doing.full);
  ends.listen(deck.stage.root, 'click', () => deck.toggle());
  ends.add(onPreference(() => { show(); clip.show(); }));
  ends.every(100, () => bar.show());
  ends.every(1000, () => { show(); info.show(); tellEnd(ending, info.stream.ends); });
  const pause = new Pause();
  ends.every(ASK_AGAIN, () => {
    if (session.standing !== 'in' || !pause.isOver(now())) return;
    session.api.stream(stream.name, ends.signal).then((fresh) => { info.stream = fresh; pause.end(); }, (error: unknown) => { pause.failed(now(), retryAfterOf(error)); });
  });
  let { standing } = session;
  ends.listen(session, 'change', () => {
    if (session.standing === 'in' && standing !== 'in') recordings.resume();
    ({ standing } = session);
  });
  ends.add(() => recordings.close());
  const acts = actsFor(deck, timeline, { ...doing, setMark, go, clear: () => { marks.in = marks.out = undefined; marked(); } }, info, toggleInfo);
  ends.listen(document, 'keydown', (event: KeyboardEvent) => {
    if (document.querySelector('dialog[open]')) return;
    const act = actFor(event, acts);
    if (act) { event.preventDefault(); act(event); }
  });
  clip.show();
  begin(deck, address);
}

function begin(deck: Deck, address: CameraAddress): void {
  const at = address.at ?? address.from;
  if (at === undefined) deck.goLive();
  else deck.go(at);
}

interface More { info(): void; help(): void; share(): void; still(): void; jump(): void; full(): void; setMark(end: 'in' | 'out'): void; go(at: number): void; clear(): void }

function actsFor(deck: Deck, timeline: Timeline, more: More, info: Info, toggleInfo: (open?: boolean) => void): Acts {
  const shift = (ms: number) => { const at = deck.position(); if (at !== undefined && !(deck.live && ms > 0)) more.go(at + ms); };
  return {
    ' ': () => deck.toggle(), k: () => { if (!deck.paused) deck.toggle(); },
    ArrowLeft: (event) => shift(event.shiftKey ? -60e3 : -5000), ArrowRight: (event) => shift(event.shiftKey ? 60e3 : 5000),
    j: () => deck.shuttle(-1), l: () => deck.shuttle(1), ',': () => deck.step(-1), '.': () => deck.step(1),
    i: () => more.setMark('in'), o: () => more.setMark('out'), x: more.clear, g: more.jump, e: () => deck.goLive(),
    '+': () => timeline.zoomBy(0.5), '=': () => timeline.zoomBy(0.5), '-': () => timeline.zoomBy(2),
    s: more.share, m: () => deck.mute(!deck.stage.video.muted), f: more.full, d: more.info, '?': more.help,
    Escape: () => { if (!info.root.hidden) toggleInfo(false); else if (!document.fullscreenElement) location.hash = '#/'; },
  };
}

/** The pill in the bar, and loud words over the picture where it cannot speak for itself. */
function tell(deck: Deck, root: HTMLElement, pill: HTMLElement, loud: HTMLElement): void {
  const { state } = deck.feed;
  const stateWords = deck.backwards ? { title: words.rewinding(-deck.backwards), detail: '', tone: 'calm' as const } : wordsOf(state, now(), preferences.zone);
  const paused = deck.paused && isFine(state);
  say(pill.firstElementChild as Element, paused ? (text.state.paused[0] ?? '') : stateWords.title);
  say(pill.lastElementChild as Element, !paused && state.is === 'live' && stateWords.detail ? ` · ${stateWords.detail}` : '');
  mark(pill, 'data-tone', paused ? 'calm' : stateWords.tone);
  mark(root, 'data-state', state.is);
  const quick = (state.is === 'buffering' || state.is === 'opening' || state.is === 'waiting') && now() - state.since < 1500;
  const show = !isFine(state) && !quick && state.is !== 'delayed' && state.is !== 'stills' && !deck.backwards;
  loud.hidden = !show;
  if (!show) return;
  say(loud.querySelector('strong') as Element, stateWords.title);
  say(loud.querySelector('span') as Element, stateWords.detail);
}

/** Says ahead when a policy ends what is being watched. */
function tellEnd(ending: HTMLElement, at: string | null | undefined): void {
  const left = at ? Date.parse(at) - now() : Infinity;
  ending.hidden = left > SOON || left <= 0;
  if (ending.hidden || !at) return;
  say(ending, words.accessEnds(duration(left > 60e3 ? Math.ceil(left / 60e3) * 60e3 : left - (left % 1000))));
  ending.title = words.accessEndsAt(moment(Date.parse(at), now(), preferences.zone));
}

async function share(deck: Deck, name: string, marks: Marks): Promise<void> {
  const at = deck.position() ?? now();
  const hash = writeAddress({ view: 'camera', name, at: Math.round(at), ...(marks.in !== undefined && { from: Math.round(marks.in) }), ...(marks.out !== undefined && { to: Math.round(marks.out) }) });
  const link = location.origin + location.pathname + hash;
  try { await navigator.clipboard.writeText(link); notice(words.shared); } catch {
    const field = h('input', { type: 'text', readonly: true, value: link, 'aria-label': words.shareTitle, class: 'share-field' });
    dialog(words.shareTitle, field);
    field.select();
  }
}

async function still(deck: Deck, name: string): Promise<void> {
  const picture = await deck.stage.picture().catch(() => null);
  if (picture) save(picture, `${name}_${new Date(deck.position() ?? now()).toISOString().replaceAll(':', '-')}.jpg`);
}

function keyList(): HTMLElement {
  return h('dl', { class: 'key-list' }, ...text.keys.list.map(([keys, what]) => h('div', {}, h('dt', {}, ...keys.split(' ').map((key) => h('kbd', {}, key))), h('dd', {}, what))));
}

