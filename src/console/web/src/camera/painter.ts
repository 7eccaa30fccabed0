// Draws the time line. Only draws: what is there, and how it looks in light and dark.

import { type Zone } from '../words';
import type { Drawn } from './recordings';
import { endOf, minorStep, ticks, xOf, type View } from './scale';

export interface Picture {
  readonly view: View; readonly drawn: Drawn; readonly oldest: number; readonly now: number; readonly zone: Zone;
  readonly playhead: number | undefined; readonly hover: number | undefined; readonly live: boolean;
  readonly markIn: number | undefined; readonly markOut: number | undefined;
  /** Starts of single fragments, when they are wide enough to be seen. */
  readonly seams: readonly number[];
}

interface Colours { ground: string; line: string; faint: string; text: string; strong: string; recorded: string; seam: string; sampled: string; none: string; mark: string; head: string; live: string }

const LANE_TOP = 30;

/** The colours of the time line as the style sheet has them now. */
export function coloursOf(element: Element): Colours {
  const style = getComputedStyle(element);
  const get = (name: string) => style.getPropertyValue(`--tl-${name}`).trim();
  return { ground: get('ground'), line: get('line'), faint: get('faint'), text: get('text'), strong: get('strong'), recorded: get('recorded'), seam: get('seam'), sampled: get('sampled'), none: get('none'), mark: get('mark'), head: get('head'), live: get('live') };
}

export function paint(canvas: HTMLCanvasElement, colours: Colours, picture: Picture): void {
  const ratio = globalThis.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const wide = Math.round(width * ratio);
  const high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
  const context = canvas.getContext('2d');
  if (!context || width === 0) return;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const pen: Pen = { context, colours, picture, width, height, lane: { top: LANE_TOP, bottom: height - 12 }, x: (at) => xOf(picture.view, at, width) };
  lane(pen);
  scale(pen);
  selection(pen);
  heads(pen);
}

interface Pen {
  readonly context: CanvasRenderingContext2D; readonly colours: Colours; readonly picture: Picture; readonly width: number; readonly height: number;
  readonly lane: { top: number; bottom: number }; x(at: number): number;
}

function lane({ context, colours, picture, width, lane, x }: Pen): void {
  const height = lane.bottom - lane.top;
  const block = (from: number, to: number, fill: string | CanvasPattern, inset = 0) => {
    const left = Math.max(0, x(from));
    const right = Math.min(width, x(to));
    if (right <= left - 0.5) return;
    context.fillStyle = fill;
    // A recording shorter than a pixel is still a recording.
    context.fillRect(left, lane.top + inset, Math.max(1, right - left), height - 2 * inset);
  };
  const { view, drawn, oldest, now } = picture;
  context.save();
  context.beginPath();
  context.roundRect(0, lane.top, width, height, 6);
  context.clip();
  block(view.start, endOf(view), colours.ground);
  if (oldest > view.start) block(view.start, oldest, hatch(context, colours.none, 7));
  for (const span of drawn.loading) block(span.from, span.to, hatch(context, colours.faint, 10));
  for (const span of drawn.sampled) block(span.from, span.to, colours.sampled, 5);
  for (const span of drawn.exact) block(span.from, Math.min(span.to, now), colours.recorded, 3);
  context.fillStyle = colours.seam;
  for (const at of picture.seams) context.fillRect(Math.round(x(at)), lane.top + 3, 1, height - 6);
  if (now < endOf(view)) block(now, endOf(view), colours.none);
  context.restore();
}

function scale({ context, colours, picture, width, lane, x }: Pen): void {
  const { view, zone } = picture;
  const minor = minorStep(view, width);
  const labelled = ticks(view, width, zone);
  context.fillStyle = colours.line;
  const first = labelled[0]?.at ?? view.start;
  if (minor > 0) for (let at = first; at <= endOf(view); at += minor) context.fillRect(Math.round(x(at)), lane.top - 5, 1, 4);
  context.font = '500 11px ui-sans-serif, system-ui, sans-serif';
  context.textBaseline = 'alphabetic';
  for (const tick of labelled) {
    const left = Math.round(x(tick.at));
    context.fillStyle = colours.line;
    context.fillRect(left, lane.top - 9, 1, 8);
    context.fillStyle = tick.strong ? colours.strong : colours.text;
    const half = context.measureText(tick.label).width / 2;
    if (left >= half && left <= width - half) context.fillText(tick.label, left - half, lane.top - 13);
  }
}

function selection({ context, colours, picture, width, lane, x }: Pen): void {
  const { markIn, markOut } = picture;
  if (markIn === undefined && markOut === undefined) return;
  const left = markIn === undefined ? undefined : x(markIn);
  const right = markOut === undefined ? undefined : x(markOut);
  if (left !== undefined && right !== undefined) {
    context.fillStyle = colours.mark;
    context.globalAlpha = 0.24;
    context.fillRect(left, lane.top - 2, Math.max(1, right - left), lane.bottom - lane.top + 4);
    context.globalAlpha = 1;
    context.fillRect(left, lane.bottom + 2, Math.max(1, right - left), 2);
    context.fillRect(left, lane.top - 3, Math.max(1, right - left), 2);
  }
  context.fillStyle = colours.mark;
  const grip = (at: number, direction: 1 | -1) => {
    if (at < -20 || at > width + 20) return;
    context.beginPath();
    context.roundRect(direction > 0 ? at - 1 : at - 7, lane.top - 3, 8, lane.bottom - lane.top + 7, 2);
    context.fill();
  };
  if (left !== undefined) grip(left, 1);
  if (right !== undefined) grip(right, -1);
}

function heads({ context, colours, picture, width, lane, x }: Pen): void {
  if (picture.hover !== undefined) {
    context.fillStyle = colours.strong;
    context.globalAlpha = 0.5;
    context.fillRect(Math.round(x(picture.hover)), lane.top - 4, 1, lane.bottom - lane.top + 8);
    context.globalAlpha = 1;
  }
  if (picture.playhead === undefined) return;
  const at = Math.round(x(picture.playhead));
  if (at < -12 || at > width + 12) return;
  context.fillStyle = picture.live ? colours.live : colours.head;
  context.fillRect(at - 1, lane.top - 6, 2, lane.bottom - lane.top + 12);
  context.beginPath();
  context.moveTo(at - 6, lane.top - 8);
  context.lineTo(at + 6, lane.top - 8);
  context.lineTo(at, lane.top - 1);
  context.closePath();
  context.fill();
}

const hatches = new Map<string, CanvasPattern>();

function hatch(context: CanvasRenderingContext2D, colour: string, step: number): CanvasPattern | string {
  const key = `${colour}${step}`;
  const known = hatches.get(key);
  if (known) return known;
  const tile = document.createElement('canvas');
  tile.width = tile.height = step;
  const pen = tile.getContext('2d');
  if (!pen) return colour;
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const shift of [-step, 0, step]) { pen.moveTo(shift, step); pen.lineTo(shift + step, 0); }
  pen.stroke();
  const pattern = context.createPattern(tile, 'repeat');
  if (pattern) hatches.set(key, pattern);
  return pattern ?? colour;
}
