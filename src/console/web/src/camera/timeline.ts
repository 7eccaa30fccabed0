// The time line under the hand: wheel and pinch zoom, drag pans, a click plays, the marks can be dragged; and the same
// for a keyboard and for a screen reader, to which it is a slider over time.

import { h, mark, say, Ends } from '../dom';
import { now } from '../present';
import { onPreference, preferences } from '../preferences';
import { iconButton } from '../widgets';
import { text } from '../text';
import { clockMs, clockTime, dayOf, moment } from '../words';
import { coloursOf, paint } from './painter';
import { EXACT, type Recordings } from './recordings';
import { contains, endOf, following, hold, timeAt, viewAt, xOf, zoom, type View } from './scale';
import { snap, type Thumbnails } from './thumbnails';

const words = text.timeline;
const SPANS = { month: 31 * 86400e3, day: 86400e3, hour: 3600e3, tenMinutes: 600e3, minute: 60e3 } as const;
const GRIP = 9;

export interface Playing { position(): number | undefined; live(): boolean; moving(): boolean; go(at: number): void; shift(ms: number): void }
export interface Marks { in: number | undefined; out: number | undefined }

type Drag = { readonly what: 'pan'; readonly from: number; readonly view: View; moved: boolean } | { readonly what: 'in' | 'out' } | { readonly what: 'pinch'; readonly apart: number; readonly view: View };

export class Timeline {
  readonly root: HTMLElement;
  view: View;
  private follow = true;
  private hover: number | undefined;
  private handAt = 0;
  private drag: Drag | undefined;
  private readonly pointers = new Map<number, number>();
  private readonly canvas = h('canvas', { class: 'timeline-canvas' });
  private readonly track = h('div', { class: 'timeline-track', role: 'slider', tabindex: '0', 'aria-label': words.label, 'aria-describedby': 'timeline-help', 'aria-valuemin': '0', 'aria-valuemax': '0', 'aria-valuenow': '0' }, this.canvas);
  private readonly day = h('span', { class: 'timeline-day' });
  private readonly problem = h('span', { class: 'timeline-problem', role: 'status' });
  private readonly followButton = h('button', { type: 'button', class: 'button small', on: { click: () => this.followAgain() } }, words.follow);
  private readonly legend = legend();
  private colours: ReturnType<typeof coloursOf> | undefined;
  private queued = false;
  private readonly recordings: Recordings;
  private readonly playing: Playing;
  private readonly marks: Marks;
  private readonly thumbnails: Thumbnails;
  private readonly marked: () => void;

  constructor(recordings: Recordings, playing: Playing, marks: Marks, thumbnails: Thumbnails, marked: () => void, at: number | undefined, ends: Ends) {
    this.recordings = recordings;
    this.playing = playing;
    this.marks = marks;
    this.thumbnails = thumbnails;
    this.marked = marked;
    this.view = at === undefined ? viewAt(now(), SPANS.hour, 0.9) : viewAt(at, SPANS.tenMinutes);
    if (marks.in !== undefined && marks.out !== undefined) this.view = viewAt((marks.in + marks.out) / 2, Math.max(SPANS.tenMinutes, (marks.out - marks.in) * 1.6));
    const spans = h('div', { class: 'timeline-spans' }, ...Object.entries(SPANS).map(([name, span]) =>
      h('button', { type: 'button', class: 'button small', on: { click: () => this.showSpan(span) } }, words.spans[name as keyof typeof SPANS])));
    this.root = h('section', { class: 'timeline', 'aria-label': words.label },
      h('div', { class: 'timeline-head' }, this.day, this.problem, h('span', { class: 'spring' }), this.followButton, spans,
        iconButton('minus', words.zoomOut, () => this.zoomBy(2)), iconButton('plus', words.zoomIn, () => this.zoomBy(0.5))),
      h('div', { class: 'timeline-body' }, this.track, thumbnails.root),
      h('p', { id: 'timeline-help', class: 'hidden-title' }, words.help), this.legend.root);
    this.listen(ends);
    this.covers();
  }

  zoomBy(factor: number): void {
    const at = this.playing.position();
    this.turn(zoom(this.view, factor, at !== undefined && contains(this.view, at) ? at : this.view.start + this.view.span / 2));
  }

  /** Brings a moment into view, and follows the playhead again. */
  reveal(at: number): void {
    this.follow = true;
    if (!contains(this.view, at)) this.turn(viewAt(at, this.view.span));
    this.draw();
  }

  draw(): void {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => { this.queued = false; this.paint(); });
  }

  private listen(ends: Ends): void {
    const { track } = this;
    ends.listen(track, 'pointerdown', (event: PointerEvent) => this.down(event));
    ends.listen(track, 'pointermove', (event: PointerEvent) => this.move(event));
    ends.listen(track, 'pointerup', (event: PointerEvent) => this.up(event, true));
    ends.listen(track, 'pointercancel', (event: PointerEvent) => this.up(event, false));
    ends.listen(track, 'pointerleave', () => { this.hover = undefined; this.thumbnails.hide(); this.draw(); });
    ends.listen(track, 'wheel', (event: WheelEvent) => this.wheel(event), { passive: false });
    ends.listen(track, 'keydown', (event: KeyboardEvent) => this.key(event));
    // What is under a resting hand may become known only now.
    ends.listen(this.recordings, 'change', () => { if (this.hover !== undefined && !this.drag) this.point(this.handAt, 'mouse'); this.draw(); });
    const sized = new ResizeObserver(() => this.draw());
    sized.observe(track);
    ends.add(() => sized.disconnect());
    const recolour = () => { this.colours = undefined; this.draw(); };
    ends.add(onPreference(recolour));
    const dark = matchMedia('(prefers-color-scheme: dark)');
    ends.listen(dark, 'change', recolour);
    ends.every(250, () => this.tick());
    ends.every(3000, () => this.recordings.cover(this.view));
  }

  private tick(): void {
    const at = this.playing.position();
    if (at !== undefined && this.follow && !this.drag && this.hover === undefined && this.playing.moving()) this.turn(following(this.view, at, this.playing.live()), true);
    this.draw();
    this.tell(at);
  }

  private turn(view: View, quietly = false): void {
    this.view = hold(view, this.recordings.oldest, now());
    if (!quietly) this.follow = false;
    this.covers();
    this.draw();
  }

  private asked: ReturnType<typeof setTimeout> | undefined;
  private covers(): void {
    clearTimeout(this.asked);
    this.asked = setTimeout(() => this.recordings.cover(this.view), 120);
  }

  private showSpan(span: number): void {
    const at = this.playing.position() ?? now();
    this.turn(this.playing.live() ? viewAt(now(), span, 0.9) : viewAt(at, span));
    this.follow = true;
  }

  private followAgain(): void {
    this.follow = true;
    const at = this.playing.position();
    if (at !== undefined) this.turn(this.playing.live() ? viewAt(at, this.view.span, 0.9) : viewAt(at, this.view.span), true);
  }

  private place(event: MouseEvent): number { return event.clientX - this.track.getBoundingClientRect().left; }
  private get width(): number { return this.track.clientWidth; }

  private down(event: PointerEvent): void {
    if (event.button !== 0) return;
    const x = this.place(event);
    this.track.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, x);
    const [first, second] = [...this.pointers.values()];
    if (first !== undefined && second !== undefined) { this.drag = { what: 'pinch', apart: Math.max(20, Math.abs(first - second)), view: this.view }; return; }
    const grip = (['in', 'out'] as const).find((end) => this.marks[end] !== undefined && Math.abs(xOf(this.view, this.marks[end], this.width) - x) < GRIP);
    this.drag = grip ? { what: grip } : { what: 'pan', from: x, view: this.view, moved: false };
  }

  private move(event: PointerEvent): void {
    const x = this.place(event);
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, x);
    const { drag } = this;
    if (drag?.what === 'pinch') {
      const [first = 0, second = 0] = [...this.pointers.values()];
      const middle = (first + second) / 2;
      return this.turn(zoom(drag.view, drag.apart / Math.max(20, Math.abs(first - second)), timeAt(drag.view, middle, this.width)));
    }
    if (drag?.what === 'in' || drag?.what === 'out') {
      this.moveMark(drag.what, timeAt(this.view, x, this.width));
    } else if (drag?.what === 'pan') {
      if (Math.abs(x - drag.from) > 4) drag.moved = true;
      if (drag.moved) { this.thumbnails.hide(); this.hover = undefined; return this.turn({ start: drag.view.start - ((x - drag.from) / this.width) * drag.view.span, span: drag.view.span }); }
    }
    this.point(x, event.pointerType);
  }

  private up(event: PointerEvent, act: boolean): void {
    this.pointers.delete(event.pointerId);
    const { drag } = this;
    this.drag = this.pointers.size > 0 ? this.drag : undefined;
    if (act && drag?.what === 'pan' && !drag.moved) {
      this.follow = true;
      this.playing.go(timeAt(this.view, this.place(event), this.width));
    }
    if (event.pointerType !== 'mouse') { this.hover = undefined; this.thumbnails.hide(); }
    this.draw();
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const across = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    if (across) this.turn({ start: this.view.start + ((event.deltaX || event.deltaY) / this.width) * this.view.span, span: this.view.span });
    else this.turn(zoom(this.view, Math.exp(Math.sign(event.deltaY) * Math.min(0.6, Math.abs(event.deltaY) / 250)), timeAt(this.view, this.place(event), this.width)));
    this.point(this.place(event), 'mouse');
  }

  private key(event: KeyboardEvent): void {
    // The arrows mean the same here as everywhere in the view; these reach further.
    const step = this.view.span / 4;
    const act = { PageUp: () => this.playing.shift(-step), PageDown: () => this.playing.shift(step),
      Home: () => this.playing.go(this.recordings.oldest + 5000), End: () => this.playing.go(now()) }[event.key];
    if (!act || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  private moveMark(end: 'in' | 'out', at: number): void {
    const held = Math.min(Math.max(at, this.recordings.oldest), now());
    const { in: from, out: to } = this.marks;
    if (end === 'in') this.marks.in = to === undefined ? held : Math.min(held, to - 200);
    else this.marks.out = from === undefined ? held : Math.max(held, from + 200);
    this.marked();
    this.draw();
  }

  /** The hand points at a place: line and picture. */
  private point(x: number, pointer: string): void {
    if (x < 0 || x > this.width) return;
    const at = timeAt(this.view, x, this.width);
    this.handAt = x;
    this.hover = at;
    const grips = (['in', 'out'] as const).some((end) => this.marks[end] !== undefined && Math.abs(xOf(this.view, this.marks[end], this.width) - x) < GRIP);
    this.track.style.cursor = grips ? 'ew-resize' : '';
    if (pointer !== 'touch' || this.drag) {
      const there = this.recordings.at(at);
      const what = at > now() ? '' : at < this.recordings.oldest ? words.expired : there === false ? words.gap : undefined;
      const time = this.view.span < 120e3 ? `${moment(at, now(), preferences.zone)}.${clockMs(at, preferences.zone).slice(-3)}` : moment(at, now(), preferences.zone);
      if (what === '') this.thumbnails.hide();
      else this.thumbnails.show(x, this.width, snap(at, there, this.view.span), time, what);
    }
    this.draw();
  }

  private paint(): void {
    if (!this.canvas.isConnected) return;
    this.colours ??= coloursOf(this.track);
    const { view, recordings } = this;
    const wide = (this.recordings.step / view.span) * this.width > 9;
    paint(this.canvas, this.colours, {
      view, drawn: recordings.drawn(view), oldest: recordings.oldest, now: now(), zone: preferences.zone, playhead: this.playing.position(), hover: this.hover,
      live: this.playing.live(), markIn: this.marks.in, markOut: this.marks.out, seams: wide ? recordings.piecesIn(view.start, endOf(view)).map((piece) => piece.start) : [],
    });
    const middle = view.start + view.span / 2;
    const [first, last] = [dayOf(view.start, preferences.zone), dayOf(endOf(view), preferences.zone)];
    say(this.day, first === last || view.span < 3600e3 ? dayOf(middle, preferences.zone) : `${first} – ${last}`);
    say(this.problem, !recordings.allowed ? words.noAccess : recordings.failed ? words.failed : recordings.refused(view) ? words.partAccess : '');
    const at = this.playing.position();
    this.followButton.hidden = at === undefined || contains(view, at);
    this.legend.sampled.hidden = view.span <= EXACT;
    this.legend.expired.hidden = view.start >= recordings.oldest;
    this.legend.marked.hidden = this.marks.in === undefined && this.marks.out === undefined;
  }

  private tell(at: number | undefined): void {
    const { track, recordings } = this;
    Object.assign(track.dataset, { start: Math.round(this.view.start), span: Math.round(this.view.span), position: at === undefined ? '' : Math.round(at) });
    if (at === undefined) return;
    mark(track, 'aria-valuemin', String(Math.round(recordings.oldest / 1000)));
    mark(track, 'aria-valuemax', String(Math.round(now() / 1000)));
    mark(track, 'aria-valuenow', String(Math.round(at / 1000)));
    mark(track, 'aria-valuetext', words.at(`${dayOf(at, preferences.zone)} ${clockTime(at, preferences.zone)}`, recordings.at(at) === false ? words.gap : words.recorded));
  }
}

function legend() {
  const entry = (kind: string, label: string) => h('span', { class: 'legend-entry' }, h('span', { class: `swatch ${kind}`, 'aria-hidden': 'true' }), label);
  const [sampled, expired, marked] = [entry('sampled', words.sampled), entry('expired', words.expired), entry('marked', words.selected)];
  const root = h('div', { class: 'legend', 'aria-label': words.legend, role: 'group' }, entry('recorded', words.recorded), entry('gap', words.gap), sampled, expired, marked);
  return { root, sampled, expired, marked };
}
