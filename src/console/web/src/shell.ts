// The frame around both views: the bar on top with clock, settings and session. Views put their own controls into the
// bar's middle.

import { h, say, Ends, type Child } from './dom';
import { now } from './present';
import { onPreference, prefer, preferences, type Theme } from './preferences';
import { badge } from './session/badge';
import type { Session } from './session/session';
import { text } from './text';
import { iconButton, menu, relabel, toggleFullScreen } from './widgets';
import { clockTime, dayOf, zoneName, type Zone } from './words';

export interface Shell {
  readonly root: HTMLElement;
  readonly main: HTMLElement;
  /** Fills the bar's middle. */
  bar(...children: Child[]): void;
}

export function shell(session: Session, signIn: () => void): Shell {
  const ends = new Ends();
  const middle = h('div', { class: 'bar-middle' });
  const main = h('main', { id: 'main', tabindex: '-1' });
  const time = h('span', { class: 'clock-time' });
  const zone = h('span', { class: 'clock-zone' });
  const clock = h('div', { class: 'clock', role: 'timer', 'aria-label': text.top.clock, 'aria-live': 'off' }, time, zone);
  const root = h('div', { class: 'shell' },
    h('a', { class: 'skip', href: '#main', on: { click: (event: Event) => { event.preventDefault(); main.focus(); } } }, text.skip),
    h('header', { class: 'bar' },
      h('a', { class: 'brand', href: '#/', 'aria-label': `${text.brand}: ${text.top.wall}` }, h('span', { class: 'brand-mark', 'aria-hidden': 'true' }), h('span', { class: 'brand-name' }, text.brand)),
      middle, clock, fullScreenButton(ends), settings(), badge(session, signIn)),
    main);
  const tick = () => {
    say(time, clockTime(now(), preferences.zone));
    say(zone, zoneName(preferences.zone, now()));
    clock.title = dayOf(now(), preferences.zone);
  };
  tick();
  ends.every(500, tick);
  ends.add(onPreference(tick));
  return { root, main, bar: (...children) => middle.replaceChildren(...children.filter((child): child is Node => child instanceof Node)) };
}

function fullScreenButton(ends: Ends): HTMLElement {
  const button = iconButton('full', text.top.fullScreen, () => void toggleFullScreen(document.documentElement), { class: 'icon-button wide-only' });
  if (!document.fullscreenEnabled) button.hidden = true;
  ends.listen(document, 'fullscreenchange', () => {
    const full = document.fullscreenElement !== null;
    relabel(button, full ? 'leaveFull' : 'full', full ? text.top.leaveFullScreen : text.top.fullScreen);
  });
  return button;
}

function settings(): HTMLElement {
  const choice = <T extends string>(legend: string, name: string, options: Record<T, string>, chosen: () => T, choose: (value: T) => void) =>
    h('fieldset', { class: 'choice' }, h('legend', {}, legend),
      h('div', { class: 'segments' }, ...(Object.entries(options) as [T, string][]).map(([value, label]) =>
        h('label', {}, h('input', { type: 'radio', name, value, checked: chosen() === value, on: { change: () => choose(value) } }), h('span', {}, label)))));
  const button = iconButton('sliders', text.top.settings, () => undefined);
  return menu(button, h('div', { class: 'panel', role: 'group', 'aria-label': text.top.settings },
    choice<Theme>(text.top.theme, 'theme', text.top.themes, () => preferences.theme, (theme) => prefer({ theme })),
    choice<Zone>(text.top.zone, 'zone', text.top.zones, () => preferences.zone, (zone) => prefer({ zone }))));
}

