// Mark in, mark out, and the file between them: what it will be, whether KVS would cut it, and its way here with progress.

import { Refused, type Stream } from '../api';
import { h, mark, say, Ends } from '../dom';
import { icon } from '../icons';
import { now } from '../present';
import { preferences } from '../preferences';
import { messageOf, type Session } from '../session/session';
import { notice } from '../widgets';
import { text } from '../text';
import { bytes, duration, moment } from '../words';
import { estimate, fileName, LONGEST, type Estimate } from './estimate';
import type { Recordings } from './recordings';
import type { Marks } from './timeline';

const words = text.clip;
/** Longer than this, listing every fragment first would take longer than it helps, in ms. */
const COUNTABLE = 6 * 3600e3;

export class ClipPanel {
  readonly root: HTMLElement;
  private readonly range = h('span', { class: 'clip-range' });
  private readonly size = h('span', { class: 'quiet' });
  private readonly problem = h('span', {});
  private readonly bar = h('progress', { class: 'clip-progress', max: '1', value: 0, hidden: true, 'aria-label': words.download });
  private readonly progress = h('span', { class: 'quiet', role: 'status' });
  private readonly download = h('button', { type: 'button', class: 'button primary', on: { click: () => void this.start() } }, icon('download'), h('span', {}, words.download));
  private readonly cut = h('button', { type: 'button', class: 'button small', on: { click: () => void this.start(true) } }, words.downloadCut);
  private readonly warning = h('p', { class: 'clip-warning', role: 'status', hidden: true }, icon('warning'), this.problem, this.cut);
  private readonly stop = h('button', { type: 'button', class: 'button', hidden: true, on: { click: () => this.running?.abort() } }, words.stop);
  private readonly clear = h('button', { type: 'button', class: 'button plain', on: { click: () => { this.marks.in = this.marks.out = undefined; this.changed(); } } }, words.clear);
  private running: AbortController | undefined;
  private known: Estimate | undefined;
  private counting: ReturnType<typeof setTimeout> | undefined;
  private turn = 0;
  private readonly session: Session;
  private readonly stream: Stream;
  private readonly recordings: Recordings;
  private readonly marks: Marks;
  private readonly changed: () => void;

  /** `set` marks the shown moment; `changed` is called when marks went away. */
  constructor(session: Session, stream: Stream, recordings: Recordings, marks: Marks, set: (end: 'in' | 'out') => void, changed: () => void, ends: Ends) {
    this.session = session;
    this.stream = stream;
    this.recordings = recordings;
    this.marks = marks;
    this.changed = changed;
    const button = (end: 'in' | 'out') => h('button', { type: 'button', class: 'button', title: `${words[end]} (${end === 'in' ? 'I' : 'O'})`, on: { click: () => set(end) } }, icon(end), h('span', {}, words[end]));
    this.root = h('section', { class: 'clip', 'aria-label': words.title },
      h('div', { class: 'clip-row' }, button('in'), button('out'), this.range, this.size, h('span', { class: 'spring' }), this.bar, this.progress, this.clear, this.stop, this.download),
      this.warning);
    ends.add(() => { this.running?.abort(); clearTimeout(this.counting); });
    this.show();
  }

  /** The marks moved. */
  show(): void {
    const { in: from, out: to } = this.marks;
    const may = this.stream.actions.includes('GetClip');
    const both = from !== undefined && to !== undefined;
    const when = (at: number | undefined) => (at === undefined ? '…' : moment(at, now(), preferences.zone));
    say(this.range, !may ? words.noAccess : from === undefined && to === undefined ? words.hint : `${when(from)} – ${when(to)}${both ? ` · ${duration(to - from)}` : ''}`);
    mark(this.range, 'data-hint', from === undefined && to === undefined);
    this.clear.hidden = from === undefined && to === undefined;
    this.known = undefined;
    this.warn(both && to - from > LONGEST ? words.tooLong : undefined);
    say(this.size, '');
    clearTimeout(this.counting);
    if (both && may && to - from <= LONGEST) this.counting = setTimeout(() => void this.count(from, to), 250);
    this.buttons();
  }

  private buttons(): void {
    const { in: from, out: to } = this.marks;
    const ready = from !== undefined && to !== undefined && to - from <= LONGEST && this.stream.actions.includes('GetClip') && this.known?.fragments !== 0;
    const parts = this.known?.cut ? this.known.parts.length : 1;
    this.download.disabled = !ready || !!this.running;
    say(this.download.lastElementChild as Element, parts > 1 ? words.downloadParts(parts) : words.download);
    this.cut.hidden = !this.known?.cut || !!this.running;
    this.stop.hidden = !this.running;
  }

  private warn(problem: string | undefined): void {
    this.warning.hidden = !problem;
    say(this.problem, problem ?? '');
  }

  private async count(from: number, to: number): Promise<void> {
    const turn = ++this.turn;
    if (!this.recordings.allowed || to - from > COUNTABLE) { say(this.size, words.unknownSize); return; }
    say(this.size, words.estimating);
    try {
      const pieces = await this.recordings.ensure(from - 20e3, to);
      if (turn !== this.turn) return;
      this.known = estimate(pieces, from, to);
      this.tellEstimate(this.known);
    } catch { if (turn === this.turn) say(this.size, ''); }
    this.buttons();
  }

  private tellEstimate({ fragments, bytes: size, gaps, cut }: Estimate): void {
    say(this.size, fragments ? [words.estimate(bytes(size), fragments), gaps.length ? words.gaps(gaps.length, duration(gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0))) : ''].filter(Boolean).join(' · ') : '');
    if (!fragments) return this.warn(words.empty);
    this.warn(cut && words.tooBig(cut.by === 'fragments' ? words.whyFragments(fragments) : words.whyBytes(bytes(size)), moment(cut.at, now(), preferences.zone)));
  }

  private async start(cutShort = false): Promise<void> {
    const { in: from, out: to } = this.marks;
    if (from === undefined || to === undefined || this.running) return;
    const whole = { from: this.known?.from ?? from, to, bytes: this.known?.bytes ?? 0 };
    const parts = this.known?.cut && !cutShort ? this.known.parts : [whole];
    const running = (this.running = new AbortController());
    this.bar.hidden = false;
    this.buttons();
    try {
      for (const [nth, part] of parts.entries()) {
        const prefix = parts.length > 1 ? `${words.part(nth + 1, parts.length)}: ` : '';
        await this.fetchPart(part, parts.length > 1 ? nth + 1 : 0, prefix, running.signal);
      }
    } catch (error) {
      if (!running.signal.aborted) notice(error instanceof Refused ? words.failed(error.message) : error instanceof TypeError ? words.broken : words.failed(messageOf(error)), 10e3);
      say(this.progress, '');
    } finally {
      this.running = undefined;
      this.bar.hidden = true;
      this.buttons();
    }
  }

  private async fetchPart(part: { from: number; to: number; bytes: number }, nth: number, prefix: string, signal: AbortSignal): Promise<void> {
    say(this.progress, prefix + words.progress(bytes(0), part.bytes ? bytes(part.bytes) : undefined));
    const answer = await this.session.api.clip(this.stream.name, Math.floor(part.from), Math.ceil(Math.min(part.to, now() - 1000)), signal);
    const length = Number(answer.headers.get('content-length')) || part.bytes;
    const reader = (answer.body as ReadableStream<Uint8Array<ArrayBuffer>>).getReader();
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let got = 0;
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      chunks.push(chunk.value);
      got += chunk.value.length;
      this.bar.value = length ? Math.min(0.99, got / length) : 0;
      say(this.progress, prefix + words.progress(bytes(got), length ? bytes(length) : undefined));
    }
    const name = fileName(this.stream.name, part.from, part.to, nth);
    save(new Blob(chunks, { type: 'video/mp4' }), name);
    say(this.progress, words.done(name));
    if (answer.headers.has('kvs-edge-truncated')) this.warn(words.truncated);
  }
}

/** Hands a file to the viewer. */
export function save(file: Blob, name: string): void {
  const url = URL.createObjectURL(file);
  const link = h('a', { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60e3);
}
