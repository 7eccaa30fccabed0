// The download that runs, or how the last one ended: bytes, rate, time left, and the button that ends it.

import { Refused } from '../api';
import { h, mark, say, type Ends } from '../dom';
import { dismiss, latestDownload, type Download } from '../download/download';
import { NotWritten } from '../download/sink';
import { Changing } from '../download/transfer';
import { now } from '../present';
import { preferences } from '../preferences';
import { messageOf } from '../session/session';
import { text } from '../text';
import { bytes, duration } from '../words';
import { problemOf } from './clip-words';

const words = text.clip;
const EVERY = 250;

export class DownloadRow {
  readonly root: HTMLElement;
  private readonly name = h('span', { class: 'clip-name' });
  private readonly bar = h('progress', { class: 'clip-progress', max: '1', value: 0, 'aria-label': words.download });
  private readonly numbers = h('span', { class: 'quiet clip-numbers' });
  // The numbers change four times a second; what is read aloud are the turns.
  private readonly spoken = h('span', { class: 'hidden-title', role: 'status' });
  private readonly button = h('button', { type: 'button', class: 'button', on: { click: () => this.press() } });
  private running = false;
  private interrupted = false;
  private readonly changed: () => void;
  private readonly dismissed: () => void;

  /** `changed` is called when a download has ended, `dismissed` when the viewer has closed the row. */
  constructor(ends: Ends, changed: () => void, dismissed: () => void) {
    this.changed = changed;
    this.dismissed = dismissed;
    this.root = h('div', { class: 'clip-row clip-download', hidden: true }, this.name, this.bar, this.numbers, h('span', { class: 'spring' }), this.button, this.spoken);
    ends.every(EVERY, () => this.show());
    this.show();
  }

  focus(): void { this.button.focus(); }

  show(): void {
    const download = latestDownload();
    this.root.hidden = !download;
    if (!download) return;
    const running = download.outcome.is === 'running';
    say(this.name, download.file.name);
    this.bar.hidden = !running;
    mark(this.root, 'data-stage', running ? download.stage.is : download.outcome.is);
    say(this.button, running ? words.cancel : words.dismiss);
    // Without a value the bar says that how long this takes is not known.
    if (download.stage.is === 'starting') this.bar.removeAttribute('value');
    else this.bar.value = download.total ? Math.min(1, download.got / download.total) : 0;
    say(this.numbers, running ? numbersOf(download) : endOf(download));
    this.speak(download, running);
    if (this.running && !running) this.changed();
    this.running = running;
  }

  private speak(download: Download, running: boolean): void {
    const { stage } = download;
    const interrupted = running && (stage.is === 'waiting' || stage.is === 'signedOut');
    if (!running) say(this.spoken, '');
    else if (interrupted && !this.interrupted) say(this.spoken, numbersOf(download));
    else if (!interrupted && this.interrupted) say(this.spoken, words.resumed);
    else if (!this.running) say(this.spoken, words.running(download.file.name));
    this.interrupted = interrupted;
  }

  private press(): void {
    const download = latestDownload();
    if (download?.outcome.is === 'running') download.cancel();
    else { dismiss(); this.dismissed(); }
    this.show();
  }
}

function numbersOf({ stage, got, total, pace }: Download): string {
  const progress = total ? words.progress(bytes(got), bytes(total)) : bytes(got);
  switch (stage.is) {
    case 'starting': return words.starting;
    case 'finishing': return words.finishing;
    case 'signedOut': return `${progress} · ${words.paused}`;
    case 'waiting': {
      const seconds = Math.max(0, Math.ceil((stage.until - now()) / 1000));
      return `${progress} · ${stage.busy ? words.busy(seconds) : words.waiting(seconds)}`;
    }
    case 'loading': {
      const { rate } = pace;
      const left = pace.left(got, total);
      return [progress, rate !== undefined && words.rate(bytes(rate)), left !== undefined && words.left(duration(Math.ceil(left / 1000) * 1000))].filter(Boolean).join(' · ');
    }
  }
}

function endOf({ outcome, got }: Download): string {
  if (outcome.is === 'failed') return words.failed(failure(outcome.why));
  return outcome.is === 'done' ? words.saved(bytes(got)) : words.cancelled;
}

/** Why a download ended without its file. */
export function failure(error: unknown): string {
  if (error instanceof Changing) return words.changing;
  if (error instanceof NotWritten) return words.notWritten(error.message);
  return error instanceof Refused ? problemOf(error, now(), preferences.zone) : messageOf(error);
}
