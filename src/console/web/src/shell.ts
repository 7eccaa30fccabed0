// The frame around both views: the bar on top with clock, settings and session, short notices, and menus that close by
// themselves. Views put their own controls into the bar's middle.

import { h, mark, say, Ends, type Child } from './dom';
import { icon, type Icon } from './icons';
import { now } from './present';
import { onPreference, prefer, preferences, type Theme } from './preferences';
import { badge } from './session/badge';
import type { Session } from './session/session';
import { text } from './text';
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

/** A button with an icon and a name that is shown on hover and read aloud. */
export function iconButton(name: Icon, label: string, press: (event: MouseEvent) => void, more: Record<string, unknown> = {}): HTMLButtonElement {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, on: { click: press }, ...more }, icon(name));
}

/** Changes a button's icon and name. */
export function relabel(button: HTMLButtonElement, name: Icon, label: string): void {
  if (button.getAttribute('aria-label') === label) return;
  button.replaceChildren(icon(name));
  button.setAttribute('aria-label', label);
  button.title = label;
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

export async function toggleFullScreen(element: Element): Promise<void> {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await element.requestFullscreen();
  } catch { /* the browser may refuse; the button simply does nothing then */ }
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

/** A button that opens a panel below it; Escape, a click elsewhere or leaving by Tab closes it. */
export function menu(button: HTMLButtonElement, panel: HTMLElement, opened?: () => void): HTMLElement {
  const root = h('div', { class: 'menu' }, button, panel);
  const show = (open: boolean) => {
    panel.toggleAttribute('hidden', !open);
    mark(button, 'aria-expanded', String(open));
    if (open) opened?.();
  };
  show(false);
  button.addEventListener('click', () => show(panel.hidden !== false));
  root.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !panel.hidden) { event.stopPropagation(); show(false); button.focus(); }
  });
  root.addEventListener('focusout', (event) => { if (event.relatedTarget instanceof Node && !root.contains(event.relatedTarget)) show(false); });
  document.addEventListener('pointerdown', (event) => { if (event.target instanceof Node && root.isConnected && !root.contains(event.target)) show(false); });
  root.addEventListener('close-menu', () => show(false));
  return root;
}

const notices = h('div', { class: 'notices', role: 'status', 'aria-live': 'polite' });

/** Says something short at the bottom of the screen. */
export function notice(words: string, ms = 5000): void {
  if (!notices.isConnected) document.body.append(notices);
  const note = h('div', { class: 'notice' }, words);
  notices.append(note);
  while (notices.children.length > 3) notices.firstChild?.remove();
  setTimeout(() => note.remove(), ms);
}

/** A dialog above everything, closed by Escape or its cross. */
export function dialog(title: string, ...children: Child[]): HTMLDialogElement {
  const box = h('dialog', { class: 'dialog', 'aria-label': title },
    h('div', { class: 'dialog-head' }, h('h2', {}, title), iconButton('close', text.camera.close, () => box.close())), ...children);
  box.addEventListener('close', () => box.remove());
  box.addEventListener('click', (event) => { if (event.target === box) box.close(); });
  document.body.append(box);
  box.showModal();
  return box;
}
