// The form by which somebody signs in, or renews: a button for each issuer, and a field for a token. It is a page while
// nobody is signed in, and a dialog above the stopped pictures when a session ended.

import { h, Ends, type View } from '../dom';
import { text } from '../text';
import { messageOf, type Session } from './session';

const words = text.signIn;

/** The whole page. */
export function signInPage(session: Session, problem: string | undefined): View {
  const ends = new Ends();
  const root = h('main', { class: 'sign-in' },
    h('div', { class: 'sign-in-card' },
      h('div', { class: 'sign-in-brand' }, h('span', { class: 'brand-mark', 'aria-hidden': 'true' }), h('span', { class: 'brand-name' }, text.brand)),
      h('h1', {}, words.title), h('p', { class: 'quiet' }, words.lead), form(session, problem, () => undefined)));
  return { root, close: () => ends.all() };
}

let open: HTMLDialogElement | undefined;

/** The dialog; there is only ever one. */
export function signInDialog(session: Session, ended: boolean): void {
  if (open?.isConnected) return;
  const box = h('dialog', { class: 'dialog sign-in-dialog', 'aria-labelledby': 'sign-in-title' },
    h('h2', { id: 'sign-in-title' }, ended ? words.ended : text.session.renew), h('p', { class: 'quiet' }, ended ? words.endedLead : words.pasteHint),
    form(session, undefined, () => box.close()),
    h('button', { type: 'button', class: 'button plain', on: { click: () => box.close() } }, words.close));
  open = box;
  // Signed out, or signed in by another tab.
  const done = () => { if (session.standing === 'out' || (ended && session.standing === 'in')) box.close(); };
  session.addEventListener('change', done);
  box.addEventListener('close', () => { session.removeEventListener('change', done); box.remove(); });
  document.body.append(box);
  box.showModal();
}

function form(session: Session, problem: string | undefined, done: () => void): HTMLElement {
  const field = h('textarea', { id: 'token', class: 'token', rows: '3', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', required: true, 'aria-describedby': 'token-hint token-problem' });
  const go = h('button', { type: 'submit', class: 'button primary' }, words.go);
  const says = h('p', { class: 'problem', id: 'token-problem', role: 'alert' }, problem);
  const busy = (on: boolean) => { go.disabled = on; go.textContent = on ? words.checking : words.go; };
  const submit = async () => {
    says.textContent = '';
    busy(true);
    try { await session.paste(field.value); field.value = ''; done(); } catch (error) {
      says.textContent = messageOf(error);
      field.focus();
    } finally { busy(false); }
  };
  // A pasted token is complete: no need to look for the button.
  field.addEventListener('paste', () => setTimeout(() => { if (field.value.trim().split('.').length === 3) void submit(); }));
  field.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); void submit(); } });
  const { issuers } = session.config;
  const leave = issuers.map((issuer) => h('button', {
    type: 'button', class: 'button primary wide',
    on: { click: () => session.leaveFor(issuer.issuer) },
  }, words.with(new URL(issuer.issuer).hostname)));
  // An access proxy signs people in when they load a page.
  const reload = session.behindProxy && h('button', { type: 'button', class: 'button primary wide', on: { click: () => location.reload() } }, words.reload);
  return h('div', { class: 'sign-in-form' }, reload, ...leave, issuers.length > 0 && h('p', { class: 'or' }, words.or),
    h('form', { on: { submit: (event: Event) => { event.preventDefault(); void submit(); } } },
      h('label', { for: 'token' }, words.paste), field, h('p', { class: 'hint', id: 'token-hint' }, words.pasteHint), says, go));
}
