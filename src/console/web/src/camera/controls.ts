// The row of buttons under the picture, and what it says about where one is.

import { h, mark, say } from '../dom';
import { icon } from '../icons';
import { now } from '../present';
import { preferences } from '../preferences';
import { iconButton, menu, relabel } from '../widgets';
import { text } from '../text';
import { clockMs, dayOf, zoneName } from '../words';
import { RATES, type Deck } from './deck';

const words = text.camera;

export interface Doing { info(): void; help(): void; share(): void; still(): void; jump(): void; full(): void }

export function controls(deck: Deck, doing: Doing): { root: HTMLElement; show(): void; infoButton: HTMLButtonElement } {
  const play = iconButton('pause', words.pause, () => deck.toggle(), { class: 'icon-button play' });
  const live = h('button', { type: 'button', class: 'live-button', on: { click: () => deck.goLive() } }, h('span', { class: 'dot', 'aria-hidden': 'true' }), words.live);
  const mute = iconButton('mute', words.unmute, () => deck.mute(!deck.stage.video.muted));
  const day = h('span', { class: 'position-day' });
  const time = h('span', { class: 'position-time' });
  const position = h('button', { type: 'button', class: 'position', title: words.jump, on: { click: () => doing.jump() } }, h('span', { class: 'hidden-title' }, `${words.jump}. ${words.position}: `), time, ' ', day);
  const rate = h('span', {}, words.speedOf(1));
  const rateButton = h('button', { type: 'button', class: 'button small rate', title: words.speed }, h('span', { class: 'hidden-title' }, `${words.speed}: `), rate);
  const speeds = h('div', { class: 'panel speeds', role: 'group', 'aria-label': words.speed }, ...RATES.map((value) =>
    h('button', { type: 'button', class: 'button plain', 'data-rate': value, on: { click: (event: Event) => { deck.setRate(value); (event.currentTarget as HTMLElement).dispatchEvent(new Event('close-menu', { bubbles: true })); } } }, words.speedOf(value))));
  const info = iconButton('info', words.info, () => doing.info(), { 'aria-expanded': 'false' });
  const root = h('div', { class: 'controls', role: 'toolbar', 'aria-label': words.position },
    h('div', { class: 'control-group' },
      iconButton('back10', words.back10, () => deck.shift(-10e3)), iconButton('stepBack', words.stepBack, () => deck.step(-1), { class: 'icon-button wide-only' }),
      play, iconButton('stepForward', words.stepForward, () => deck.step(1), { class: 'icon-button wide-only' }), iconButton('forward10', words.forward10, () => deck.shift(10e3))),
    live, position, h('span', { class: 'spring' }),
    h('div', { class: 'control-group' }, menu(rateButton, speeds), mute,
      iconButton('image', words.still, () => doing.still()), iconButton('link', words.share, () => doing.share()), info,
      iconButton('keys', words.help, () => doing.help(), { class: 'icon-button wide-only' }), iconButton('full', text.top.fullScreen, () => doing.full())));

  const show = () => {
    relabel(play, deck.paused ? 'play' : 'pause', deck.paused ? words.play : words.pause);
    mark(live, 'data-on', deck.live && !deck.paused && (deck.feed.state.is === 'live' || deck.feed.state.is === 'delayed'));
    mark(live, 'aria-pressed', String(deck.live));
    live.title = deck.live ? words.atLive : words.goLive;
    const { muted } = deck.stage.video;
    relabel(mute, muted ? 'mute' : 'sound', muted ? words.unmute : words.mute);
    mute.disabled = deck.feed.master?.hasSound === false;
    if (mute.disabled) mute.title = words.noSound;
    say(rate, deck.backwards ? words.speedOf(deck.backwards) : words.speedOf(deck.rate));
    mark(rateButton, 'data-on', deck.rate !== 1 || deck.backwards !== 0);
    const at = deck.position();
    say(time, at === undefined ? '––:––:––' : clockMs(at, preferences.zone));
    say(day, at === undefined ? '' : `${dayOf(at, preferences.zone)} ${zoneName(preferences.zone, at)}`);
  };
  return { root, show, infoButton: info };
}

/** The form that asks for a time. */
export function jumpForm(at: number, oldest: number, go: (at: number) => void): HTMLElement {
  const { zone } = preferences;
  const shift = zone === 'utc' ? 0 : -new Date(at).getTimezoneOffset() * 60e3;
  const input = h('input', { type: 'datetime-local', id: 'jump-time', step: '1', value: new Date(at + shift).toISOString().slice(0, 19), required: true });
  const problem = h('p', { class: 'problem', role: 'alert' });
  return h('form', { class: 'jump', on: { submit: (event: Event) => {
    event.preventDefault();
    const wanted = zone === 'utc' ? Date.parse(`${input.value}Z`) : new Date(input.value).getTime();
    if (Number.isNaN(wanted)) return;
    if (wanted > now()) say(problem, words.jumpFuture);
    else if (wanted < oldest) say(problem, words.jumpTooOld(`${dayOf(oldest, zone)}, ${clockMs(oldest, zone).slice(0, 5)}`));
    else go(wanted);
  } } }, h('label', { for: 'jump-time' }, words.jumpWhen(zoneName(zone, at))), input, problem, h('button', { type: 'submit', class: 'button primary' }, icon('clock'), words.jumpGo));
}
