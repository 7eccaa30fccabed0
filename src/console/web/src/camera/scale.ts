// The arithmetic of the time line: what part of time is shown, where a time lies on it, where its ticks go. Pure.
// Times and spans are ms, places are px.

import { formatter, type Zone } from '../words';

export interface View { readonly start: number; readonly span: number }

const SECOND = 1000, MINUTE = 60e3, HOUR = 3600e3, DAY = 86400e3;
export const LEAST = SECOND;
export const MOST = 31 * DAY;

export const xOf = (view: View, at: number, width: number): number => ((at - view.start) / view.span) * width;
export const timeAt = (view: View, x: number, width: number): number => view.start + (x / Math.max(1, width)) * view.span;
export const endOf = (view: View): number => view.start + view.span;
export const contains = (view: View, at: number): boolean => at >= view.start && at <= endOf(view);

/** A view of a span with a time at a share of its width. */
export function viewAt(at: number, span: number, share = 0.5): View {
  const held = Math.min(MOST, Math.max(LEAST, span));
  return { start: at - held * share, span: held };
}

/** Zooms by a factor (below 1 is closer); the time under the hand stays where it is. */
export function zoom(view: View, factor: number, at: number): View {
  return viewAt(at, view.span * factor, Math.min(1, Math.max(0, (at - view.start) / view.span)));
}

/** Keeps a view from wandering far outside `from` to `to`. */
export function hold(view: View, from: number, to: number): View {
  const margin = view.span * 0.9;
  const start = Math.min(Math.max(view.start, from - margin), to + margin - view.span);
  return { start, span: view.span };
}

/** The view that follows a playhead: live stands near the right end, a recording turns the page when it reaches it. */
export function following(view: View, at: number, live: boolean): View {
  if (live) return viewAt(at, view.span, 0.9);
  const share = (at - view.start) / view.span;
  return share < 0.02 || share > 0.95 ? viewAt(at, view.span, 0.12) : view;
}

export interface Tick { readonly at: number; readonly label: string; readonly strong: boolean }

const STEPS = [100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE,
  15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY];

/** The step between labels so that they are at least `apart` px from each other. */
export function stepFor(view: View, width: number, apart = 84): number {
  const least = (view.span / Math.max(1, width)) * apart;
  return STEPS.find((step) => step >= least) ?? 7 * DAY;
}

/** How far the zone is ahead of UTC at a time, in ms. */
export const offsetOf = (at: number, zone: Zone): number => (zone === 'utc' ? 0 : -new Date(at).getTimezoneOffset() * MINUTE);

/** Labelled ticks, on round times of the zone; `strong` where a new day begins. */
export function ticks(view: View, width: number, zone: Zone): Tick[] {
  const step = stepFor(view, width);
  const found: Tick[] = [];
  let offset = offsetOf(view.start, zone);
  let at = Math.floor((view.start + offset) / step) * step - offset;
  while (at <= endOf(view)) {
    // When the clocks change, round times move with them.
    const moved = offsetOf(at, zone);
    if (moved !== offset && step >= HOUR) { at += offset - moved; offset = moved; }
    const midnight = (at + offset) % DAY === 0;
    if (at >= view.start - step) found.push({ at, label: labelOf(at, step, midnight, zone), strong: midnight });
    at += step;
  }
  return found;
}

/** The short lines between labels. */
export function minorStep(view: View, width: number): number {
  const step = stepFor(view, width);
  const parts = [10, 6, 5, 4, 3, 2].find((parts) => step % parts === 0 && (step / parts / view.span) * width >= 7 && STEPS.includes(step / parts));
  return parts ? step / parts : step;
}

function labelOf(at: number, step: number, midnight: boolean, zone: Zone): string {
  if (midnight || step >= DAY) return formatter(zone, { day: 'numeric', month: 'short' }).format(at);
  if (step >= MINUTE) return formatter(zone, { hour: '2-digit', minute: '2-digit' }).format(at);
  const clock = formatter(zone, { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(at);
  return step >= SECOND ? clock : `${clock}.${Math.round((((at % SECOND) + SECOND) % SECOND) / 100)}`;
}
