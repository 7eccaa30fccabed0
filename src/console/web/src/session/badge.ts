// The chip in the bar that says who is signed in and how long that lasts, and the strip that warns before it ends.

import { h, mark, say } from '../dom';
import { icon } from '../icons';
import { now } from '../present';
import { preferences } from '../preferences';
import { menu, notice } from '../widgets';
import { text } from '../text';
import { countdown, duration, moment } from '../words';
import type { Session } from './session';

export function badge(session: Session, signIn: () => void): HTMLElement {
  const words = text.session;
  const name = h('span', { class: 'chip-name' });
  const left = h('span', { class: 'chip-left' });
  const button = h('button', { type: 'button', class: 'chip', title: words.account }, h('span', { class: 'hidden-title' }, `${words.account}: `), icon('user'), name, ' ', left);
  const who = h('p', { class: 'panel-title' });
  const how = h('p', { class: 'quiet' });
  const groups = h('p', { class: 'quiet' });
  const until = h('p', {});
  const renew = h('button', { type: 'button', class: 'button', on: { click: () => void renewNow(session, signIn) } }, words.renew);
  const root = menu(button, h('div', { class: 'panel', role: 'group', 'aria-label': words.account }, who, how, groups, until,
    h('div', { class: 'row' }, renew, h('button', { type: 'button', class: 'button plain', on: { click: () => void session.signOut() } }, words.signOut))));

  const show = () => {
    root.hidden = session.standing !== 'in' && session.standing !== 'ended';
    const remaining = session.end - now();
    const ended = session.standing === 'ended';
    say(name, session.me?.subject ?? '');
    say(left, ended ? words.ended : Number.isFinite(remaining) ? words.left(remaining < 600e3 ? countdown(remaining) : duration(Math.floor(remaining / 60e3) * 60e3)) : '');
    mark(button, 'data-tone', ended ? 'bad' : session.needsViewer ? 'warn' : undefined);
    say(who, words.who(session.me?.subject ?? ''));
    say(how, words.by[session.how]);
    say(groups, session.me?.groups.length ? words.groups(session.me.groups.join(', ')) : words.noGroups);
    say(until, Number.isFinite(session.end) ? words.until(moment(session.end, now(), preferences.zone)) : words.noEnd);
    renew.hidden = session.how === 'proxy' && session.standing === 'in';
  };
  session.addEventListener('change', show);
  setInterval(show, 1000);
  show();
  return root;
}

/** The strip above the view, there only while an end is near that needs the viewer. */
export function warning(session: Session, signIn: () => void): HTMLElement {
  const words = h('span', {});
  const root = h('div', { class: 'warning', role: 'alert', hidden: true }, icon('clock'), words,
    h('button', { type: 'button', class: 'button', on: { click: () => void renewNow(session, signIn) } }, text.session.renew));
  const show = () => {
    root.hidden = !session.needsViewer;
    // Read aloud once, not every second: the words change for the eye only.
    if (!root.hidden) say(words, text.session.soon(countdown(session.end - now())));
    mark(root, 'aria-live', root.hidden ? 'polite' : 'off');
  };
  session.addEventListener('change', show);
  setInterval(show, 1000);
  return root;
}

async function renewNow(session: Session, signIn: () => void): Promise<void> {
  if (session.standing === 'in' && session.how !== 'token' && await session.renew()) notice(text.session.renewed);
  else signIn();
}
