// The menu of walls: which one is shown, making and changing them, the carousel, the link, and the file.

import { h, mark, say } from '../dom';
import { icon } from '../icons';
import { text } from '../text';
import { menu, notice } from '../widgets';
import { FAVOURITES, merge, readWalls, writeWalls, type Walls } from './walls';

const words = text.walls;
/** Seconds for each page of the carousel; 0: it stands still. */
const PACES = [0, 10, 30, 60, 300];

export interface Chosen { readonly wall: string | undefined; readonly every: number }
interface Acts {
  readonly walls: () => Walls;
  readonly chosen: () => Chosen;
  readonly choose: (wall: string | undefined) => void;
  readonly turnEvery: (seconds: number) => void;
  readonly edit: (name: string | undefined) => void;
  readonly keep: (walls: Walls) => void;
  readonly link: () => string;
}

export function chooser(acts: Acts): { readonly root: HTMLElement; show(): void } {
  const label = h('span', { class: 'walls-name' });
  const button = h('button', { type: 'button', class: 'button walls-button' }, icon('grid'), label);
  const list = h('div', { class: 'walls-list', role: 'radiogroup', 'aria-label': words.title });
  const change = h('button', { type: 'button', class: 'button small', on: { click: () => { close(); acts.edit(acts.chosen().wall); } } });
  const pace = h('select', { class: 'walls-pace', on: { change: () => acts.turnEvery(Number(pace.value)) } });
  const file = h('input', { type: 'file', accept: 'application/json,.json', hidden: true, 'aria-label': words.bringIn, on: { change: () => void bringIn() } });
  const act = (name: string, press: () => void) => h('button', { type: 'button', class: 'button small', on: { click: press } }, name);
  const panel = h('div', { class: 'panel walls-panel', role: 'group', 'aria-label': words.title },
    list,
    h('div', { class: 'walls-acts' }, act(words.create, () => { close(); acts.edit(undefined); }), change),
    h('label', { class: 'walls-turn' }, h('span', {}, words.carousel), pace),
    h('div', { class: 'walls-acts' }, act(words.copyLink, () => void copy()), act(words.takeOut, takeOut), act(words.bringIn, () => file.click()), file));
  const root = menu(button, panel, () => fill());
  root.classList.add('walls');
  const close = () => root.dispatchEvent(new Event('close-menu'));

  const nameOf = (wall: string | undefined) => (wall === undefined ? text.top.wall : wall === FAVOURITES ? words.favourites : wall);
  const fill = (): void => {
    const { wall, every } = acts.chosen();
    const names = [undefined, FAVOURITES, ...acts.walls().walls.map(({ name }) => name)];
    if (!names.includes(wall)) names.push(wall);
    list.replaceChildren(...names.map((name) => h('label', {},
      h('input', { type: 'radio', name: 'wall', value: name ?? '', checked: name === wall, on: { change: () => { acts.choose(name); show(); } } }), h('span', {}, nameOf(name)))));
    const paces = PACES.includes(every) ? PACES : [...PACES, every].toSorted((a, b) => a - b);
    pace.replaceChildren(...paces.map((seconds) => h('option', { value: seconds, selected: seconds === every }, seconds ? words.every(seconds) : words.off)));
    change.hidden = wall === undefined;
    say(change, words.edit(nameOf(wall)));
  };
  const show = (): void => {
    const { wall, every } = acts.chosen();
    say(label, nameOf(wall));
    mark(button, 'aria-label', `${words.title}: ${nameOf(wall)}`);
    mark(button, 'data-turns', every > 0);
    if (!panel.hidden) { say(change, words.edit(nameOf(wall))); change.hidden = wall === undefined; }
  };
  const copy = async (): Promise<void> => {
    try { await navigator.clipboard.writeText(acts.link()); notice(words.copied); } catch { notice(acts.link(), 20e3); }
  };
  function takeOut(): void {
    const url = URL.createObjectURL(new Blob([writeWalls(acts.walls())], { type: 'application/json' }));
    h('a', { href: url, download: 'kvs-edge-walls.json' }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10e3);
  }
  const bringIn = async (): Promise<void> => {
    const chosen = file.files?.[0];
    file.value = '';
    if (!chosen) return;
    const read = chosen.size < 20e6 ? readWalls(await chosen.text()) : undefined;
    if (!read) return notice(words.noWalls(chosen.name));
    acts.keep(merge(acts.walls(), read));
    fill();
    notice(words.broughtIn(read.walls.length, read.favourites.length));
  };
  show();
  return { root, show };
}
