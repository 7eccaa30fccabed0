// The dialog that makes a wall: its name, its cameras in their order, and all cameras to choose from by search.

import { h, say } from '../dom';
import { icon } from '../icons';
import { matching } from '../roster';
import { text } from '../text';
import { dialog, iconButton } from '../widgets';
import { FAVOURITES, LONGEST_NAME, moved, wallName, type NamedWall } from './walls';

const words = text.walls;
/** Cameras that the list shows at most; a search finds the others. */
const MOST_SHOWN = 200;

interface Asked {
  /** The wall as it is; one without a name is new. */
  readonly wall: NamedWall | undefined;
  readonly taken: (name: string) => boolean;
  /** Names of the cameras that are known. */
  readonly cameras: () => readonly string[];
  /** Reads all cameras, and calls back when more are known. */
  readonly all: (grew: () => void) => Promise<void>;
  readonly save: (wall: NamedWall) => void;
  /** Takes the wall away; not for favourites. */
  readonly remove: (() => void) | undefined;
}

export function editWall({ wall, taken, cameras, all: readAll, save, remove }: Asked): void {
  const favourites = wall?.name === FAVOURITES;
  let chosen: string[] = [...(wall?.cameras ?? [])];
  const name = h('input', { class: 'search-field plain-field', maxlength: LONGEST_NAME, value: wall?.name ?? '', required: true, 'aria-describedby': 'wall-problem' });
  const problem = h('p', { class: 'problem', id: 'wall-problem', role: 'alert' });
  const order = h('ol', { class: 'wall-order', 'aria-label': words.order });
  const find = h('input', { type: 'search', class: 'search-field', placeholder: text.top.search, 'aria-label': text.top.search, on: { input: () => list() } });
  const all = h('div', { class: 'wall-cameras', role: 'group', 'aria-label': words.cameras });
  const more = h('p', { class: 'hint', role: 'status' });

  const list = (): void => {
    const found = matching(cameras().map((camera) => ({ name: camera })), find.value);
    all.replaceChildren(...found.slice(0, MOST_SHOWN).map(({ name: camera }) => {
      const box = h('input', { type: 'checkbox', checked: chosen.includes(camera), value: camera, on: { change: () => {
        chosen = box.checked ? [...chosen, camera] : chosen.filter((one) => one !== camera);
        arrange();
      } } });
      return h('label', {}, box, h('span', {}, camera));
    }));
    say(more, found.length > MOST_SHOWN ? words.more(found.length - MOST_SHOWN) : found.length === 0 ? text.wall.noMatch(find.value) : '');
  };

  const arrange = (focus?: string, which = 0): void => {
    order.replaceChildren(...chosen.map((camera, nth) => {
      const move = (by: number, at: number) => () => { chosen = moved(chosen, nth, by); arrange(camera, at); };
      const up = iconButton('up', words.earlier(camera), move(-1, 0), { class: 'icon-button', disabled: nth === 0 });
      const down = iconButton('down', words.later(camera), move(1, 1), { class: 'icon-button', disabled: nth === chosen.length - 1 });
      const out = iconButton('close', words.out(camera), () => { chosen = chosen.filter((one) => one !== camera); arrange(); list(); (order.querySelector('button:enabled') as HTMLElement | null ?? find).focus(); });
      return h('li', { 'data-camera': camera }, h('span', { class: 'wall-order-name' }, camera), up, down, out);
    }), ...(chosen.length ? [] : [h('li', { class: 'hint' }, words.nothingChosen)]));
    if (!focus) return;
    const buttons = [...order.querySelectorAll(`[data-camera="${CSS.escape(focus)}"] button`)] as HTMLButtonElement[];
    (buttons[which]?.disabled ? buttons[1 - which] : buttons[which])?.focus();
  };

  const keep = (event: Event): void => {
    event.preventDefault();
    const wanted = favourites ? FAVOURITES : wallName(name.value);
    if (!wanted) return say(problem, words.badName(LONGEST_NAME));
    if (wanted !== wall?.name && taken(wanted)) return say(problem, words.taken(wanted));
    save({ name: wanted, cameras: chosen });
    box.close();
  };
  const form = h('form', { class: 'wall-editor', on: { submit: keep } },
    !favourites && h('label', { class: 'wall-name' }, h('span', {}, words.name), name), problem,
    h('div', { class: 'wall-columns' },
      h('section', {}, h('h3', {}, words.cameras), h('div', { class: 'search' }, icon('search'), find), all, more),
      h('section', {}, h('h3', {}, words.order), order)),
    h('div', { class: 'row' },
      remove && h('button', { type: 'button', class: 'button plain', on: { click: () => { remove(); box.close(); } } }, words.remove),
      h('span', { class: 'spring' }),
      h('button', { type: 'submit', class: 'button primary' }, words.save)));
  list();
  arrange();
  void readAll(list);
  const box = dialog(favourites ? words.editFavourites : wall ? words.edit(wall.name) : words.create, form);
  box.classList.add('wide-dialog');
}
