// Mark in, mark out, and the file between them: what is in it, how large it is, and the button that fetches it.

import { Refused, type ClipFile, type ClipFormat, type Stream } from '../api';
import { h, mark, say, type Ends } from '../dom';
import { begin, latestDownload } from '../download/download';
import { canPick, MOST_IN_MEMORY, sinkFor } from '../download/sink';
import { icon } from '../icons';
import { worthAnotherTry } from '../play/trouble';
import { now } from '../present';
import { preferences } from '../preferences';
import { type Session } from '../session/session';
import { notice } from '../widgets';
import { text } from '../text';
import { bytes, duration, moment, momentExact } from '../words';
import { problemOf, unfit } from './clip-words';
import { gapsInside } from './coverage';
import { DownloadRow, failure } from './download-row';
import type { Recordings } from './recordings';
import type { Marks } from './timeline';

const words = text.clip;
/** Marks that move are asked for when they have stood for so long, in ms. */
const SETTLED = 300;
/** Gaps are counted from a list of every fragment; longer than this it is too long a list, in ms. */
const COUNTABLE = 6 * 3600e3;
/** Until a question without an answer is asked again, in ms. */
const AGAIN = 4000;

export class ClipPanel {
  readonly root: HTMLElement;
  private readonly range = h('span', { class: 'clip-range' });
  private readonly clear = h('button', { type: 'button', class: 'button plain', on: { click: () => { this.marks.in = this.marks.out = undefined; this.changed(); } } }, words.clear);
  private readonly format = h('select', { class: 'clip-format', 'aria-label': words.format, on: { change: () => this.show() } },
    ...Object.entries(words.formats).map(([value, name]) => h('option', { value }, name)));
  private readonly exact = h('input', { type: 'checkbox', on: { change: () => this.show() } });
  private readonly about = h('span', { class: 'clip-about quiet', role: 'status' });
  private readonly download = h('button', { type: 'button', class: 'button primary', on: { click: () => void this.start() } }, icon('download'), h('span', {}, words.download));
  private readonly fileRow: HTMLElement;
  private readonly problem = h('span', {});
  private readonly warning = h('p', { class: 'clip-warning', role: 'status', hidden: true }, icon('warning'), this.problem);
  private readonly row: DownloadRow;
  private asking = new AbortController();
  private asked: ReturnType<typeof setTimeout> | undefined;
  private file: ClipFile | undefined;
  private gaps = '';
  private readonly session: Session;
  private readonly name: string;
  private readonly may: boolean;
  private readonly recordings: Recordings;
  private readonly marks: Marks;
  private readonly changed: () => void;

  /** `set` marks the shown moment; `changed` is called when marks went away. */
  constructor(session: Session, stream: Stream, recordings: Recordings, marks: Marks, set: (end: 'in' | 'out') => void, changed: () => void, ends: Ends) {
    this.session = session;
    this.name = stream.name;
    this.may = stream.actions.includes('GetClip');
    this.recordings = recordings;
    this.marks = marks;
    this.changed = changed;
    this.row = new DownloadRow(ends, () => this.button(), () => this.download.focus());
    const button = (end: 'in' | 'out') => h('button', { type: 'button', class: 'button', title: `${words[end]} (${end === 'in' ? 'I' : 'O'})`, on: { click: () => set(end) } }, icon(end), h('span', {}, words[end]));
    this.fileRow = h('div', { class: 'clip-row clip-file', hidden: true },
      this.format, h('label', { class: 'clip-exact' }, this.exact, words.exact), this.about, h('span', { class: 'spring' }), this.download);
    this.root = h('section', { class: 'clip', 'aria-label': words.title },
      h('div', { class: 'clip-row' }, button('in'), button('out'), this.range, h('span', { class: 'spring' }), this.clear), this.fileRow, this.warning, this.row.root);
    ends.add(() => this.forget());
    // After signing in again the gateway may answer otherwise.
    ends.listen(session, 'change', () => { if (session.standing === 'in' && !this.file) this.show(); });
    this.show();
  }

  /** The marks moved, or the file is to be another one. */
  show(): void {
    const { in: from, out: to } = this.marks;
    const both = from !== undefined && to !== undefined;
    const when = (at: number | undefined) => (at === undefined ? '…' : moment(at, now(), preferences.zone));
    say(this.range, !this.may ? words.noAccess : from === undefined && to === undefined ? words.hint : `${when(from)} – ${when(to)}${both ? ` · ${duration(to - from)}` : ''}`);
    mark(this.range, 'data-hint', from === undefined && to === undefined);
    this.clear.hidden = from === undefined && to === undefined;
    this.fileRow.hidden = !both || !this.may;
    this.exact.disabled = this.format.value === 'mkv';
    this.forget();
    say(this.about, '');
    const problem = both && this.may ? unfit(from, to, this.format.value as ClipFormat, now()) : undefined;
    this.warn(problem);
    this.button();
    if (both && this.may && !problem) this.asked = setTimeout(() => void this.ask(from, to), SETTLED);
  }

  private forget(): void {
    clearTimeout(this.asked);
    this.asking.abort();
    this.file = undefined;
    this.gaps = '';
  }

  private button(): void { this.download.disabled = !this.file || !!this.tooLarge() || latestDownload()?.outcome.is === 'running'; }

  private warn(problem: string | undefined): void {
    this.warning.hidden = !problem;
    say(this.problem, problem ?? '');
  }

  /** Asks until there is an answer, since what stands in the way now may be gone in a moment. */
  private async ask(from: number, to: number): Promise<void> {
    const { signal } = (this.asking = new AbortController());
    const request = { start: Math.floor(from), end: Math.ceil(Math.min(to, now() - 1000)), format: this.format.value as ClipFormat, exact: this.exact.checked };
    say(this.about, words.preparing);
    try {
      const file = await this.session.api.clip(this.name, request, signal);
      if (signal.aborted) return;
      this.file = file;
      this.describe();
      await this.countGaps(from, to, signal);
    } catch (error) {
      if (signal.aborted || this.file) return;
      say(this.about, '');
      this.refuse(error instanceof Refused ? error : new Refused(400, '', String(error)), from, to);
    }
  }

  private refuse(refused: Refused, from: number, to: number): void {
    if (!worthAnotherTry(refused.status)) { this.warn(problemOf(refused, now(), preferences.zone)); return; }
    const wait = Math.max(refused.retryAfter ?? 0, AGAIN);
    this.warn(words.again(refused.message, Math.ceil(wait / 1000)));
    this.asked = setTimeout(() => { this.warn(undefined); void this.ask(from, to); }, wait);
  }

  /** What the file has. Its true range may be longer than the marks: it begins with a fragment. */
  private describe(): void {
    const { file } = this;
    if (!file) return;
    const when = (at: number) => momentExact(at, now(), preferences.zone);
    const begins = this.exact.checked && !this.exact.disabled ? words.begins(when(Math.max(file.from, this.marks.in ?? 0))) : '';
    say(this.about, [words.file(when(file.from), when(file.to), file.bytes ? bytes(file.bytes) : words.sizeUnknown), begins, this.gaps].filter(Boolean).join(' · '));
    this.warn(this.tooLarge());
    this.button();
  }

  private async countGaps(from: number, to: number, signal: AbortSignal): Promise<void> {
    if (!this.recordings.allowed || to - from > COUNTABLE) return;
    const gaps = gapsInside(await this.recordings.ensure(from, to), from, to);
    if (signal.aborted || !gaps.length) return;
    this.gaps = words.gaps(gaps.length, duration(gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0)));
    this.describe();
  }

  /** Whether the browser itself sends what signs this viewer in. A token is only in this page, and never in an address. */
  private get browserSignsIn(): boolean { return this.session.how !== 'token'; }

  private tooLarge(): string | undefined {
    if (!this.file || this.browserSignsIn || canPick() || this.file.bytes <= MOST_IN_MEMORY) return undefined;
    return words.memory(bytes(this.file.bytes), bytes(MOST_IN_MEMORY));
  }

  private async start(): Promise<void> {
    const { file } = this;
    if (!file) return;
    if (this.browserSignsIn) {
      h('a', { href: file.path, download: file.name }).click();
      notice(words.handed(file.name), 8000);
      return;
    }
    try {
      const sink = await sinkFor(file.name);
      if (!sink) return;
      const ended = begin(this.session, file, sink);
      this.button();
      this.row.show();
      this.row.focus();
      tellEnd(await ended);
    } catch (error) { notice(words.failed(failure(error)), 10e3); }
  }
}

/** Said above every view, since the viewer may have gone on to another. */
function tellEnd({ outcome, file, got }: Awaited<ReturnType<typeof begin>>): void {
  if (outcome.is === 'done') notice(words.done(file.name, bytes(got)), 8000);
  else if (outcome.is === 'cancelled') notice(words.cancelled);
  else if (outcome.is === 'failed') notice(words.failed(failure(outcome.why)), 10e3);
}
