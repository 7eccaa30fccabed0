// The camera's name, and the list behind it that leads to another one.

import { writeAddress } from '../address';
import { h, say, type Ends } from '../dom';
import { icon } from '../icons';
import { matching, Roster } from '../roster';
import type { Session } from '../session/session';
import { text } from '../text';
import { menu } from '../widgets';

const words = text.camera;
/** Cameras that the list shows at most; a search finds the others. */
const MOST_SHOWN = 100;

/** `name`: the camera that is shown. The list is read when it is opened, and all of it when somebody searches. */
export function switcher(session: Session, name: string, ends: Ends): HTMLElement {
  const roster = new Roster();
  const button = h('button', { type: 'button', class: 'camera-switch', 'aria-label': words.switchFrom(name) }, h('span', {}, name), icon('down'));
  const find = h('input', { type: 'search', class: 'search-field', placeholder: text.top.search, 'aria-label': text.top.search, on: {
    input: () => { list(); void read(() => false); },
    keydown: (event: KeyboardEvent) => {
      const first = links.querySelector('a');
      if (event.key === 'Enter' && first) first.click();
      if (event.key === 'ArrowDown') { event.preventDefault(); first?.focus(); }
    },
  } });
  const links = h('div', { class: 'switch-list', on: { keydown: (event: KeyboardEvent) => step(event) } });
  const more = h('p', { class: 'hint', role: 'status' });
  const panel = h('div', { class: 'panel switch-panel', role: 'group', 'aria-label': words.switching }, h('div', { class: 'search' }, icon('search'), find), links, more);

  const list = (): void => {
    if (!roster.streams) return say(more, text.wall.loading);
    const found = matching(roster.streams, find.value);
    links.replaceChildren(...found.slice(0, MOST_SHOWN).map((stream) =>
      h('a', { href: writeAddress({ view: 'camera', name: stream.name }), 'aria-current': stream.name === name && 'true' }, stream.name)));
    say(more, found.length > MOST_SHOWN || !roster.complete ? text.walls.narrow : found.length ? '' : text.wall.noMatch(find.value));
  };
  const read = async (enough: () => boolean): Promise<void> => {
    list();
    try { await roster.read(session.api, enough, list, ends.signal); } catch { if (!roster.streams) say(more, text.wall.failed); }
  };
  const step = (event: KeyboardEvent): void => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    event.stopPropagation();
    const all = [...links.querySelectorAll('a')];
    const to = all.indexOf(document.activeElement as HTMLAnchorElement) + (event.key === 'ArrowDown' ? 1 : -1);
    (to < 0 ? find : all[Math.min(to, all.length - 1)])?.focus();
  };
  const root = menu(button, panel, () => { find.value = ''; void read(() => true); find.focus(); });
  return h('div', { class: 'camera-title' }, h('h1', { class: 'hidden-title' }, name), root);
}
