// The wall's own controls in the bar on top: search, count, pages, and how many tiles there are at once.

import { h, say } from '../dom';
import { icon } from '../icons';
import { text } from '../text';
import { iconButton } from '../widgets';

const words = text.wall;
const COUNTS = [1, 4, 9, 16, 36, 64];

interface Acts {
  readonly query: string;
  readonly searched: (query: string) => void;
  readonly turned: (by: number) => void;
  readonly sized: (tiles: number) => void;
}

export function wallBar(walls: HTMLElement, { query, searched, turned, sized }: Acts) {
  const search = h('input', { type: 'search', class: 'search-field', placeholder: text.top.search, 'aria-label': text.top.searchKey, value: query, on: {
    input: () => searched(search.value),
    keydown: (event: KeyboardEvent) => { if (event.key === 'Escape') { search.value = ''; searched(''); } },
  } });
  const count = h('span', { class: 'quiet count', role: 'status' });
  const previous = iconButton('back', words.previous, () => turned(-1));
  const next = iconButton('next', words.next, () => turned(1));
  const range = h('span', { class: 'quiet' });
  const pager = h('div', { class: 'pager' }, previous, range, next);
  const sizes = h('select', { class: 'tiles-choice', 'aria-label': words.tiles, title: words.tiles, on: { change: () => sized(Number(sizes.value)) } });
  return {
    root: h('div', { class: 'wall-bar' }, walls, h('div', { class: 'search' }, icon('search'), search), count, h('span', { class: 'spring' }), pager, sizes),
    tell(counted: string, found: number, page: number, per: number): void {
      say(count, counted);
      pager.hidden = found <= per;
      say(range, words.page(page * per + 1, Math.min(found, (page + 1) * per), found));
      previous.disabled = page === 0;
      next.disabled = (page + 1) * per >= found;
      if (Number(sizes.value) === per) return;
      const counts = [...new Set([...COUNTS, per])].toSorted((a, b) => a - b);
      sizes.replaceChildren(...counts.map((n) => h('option', { value: n, selected: n === per }, words.perPage(n))));
    },
    find: (query: string) => { search.value = query; },
    focus: () => search.focus(),
  };
}
