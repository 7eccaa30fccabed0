// Buttons with icons, menus that close by themselves, short notices, dialogs: what views are built from.

import { h, mark, type Child } from './dom';
import { icon, type Icon } from './icons';
import { text } from './text';

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

export async function toggleFullScreen(element: Element): Promise<void> {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await element.requestFullscreen();
  } catch { /* the browser may refuse; the button simply does nothing then */ }
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
