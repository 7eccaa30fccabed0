import { describe, expect, it } from 'vitest';
import { gapsBetween, indexAt, join, merge, spansOf, usualStep, type Piece } from '../src/camera/coverage';
import { rangeAfter, rangeFor, rangeFrom } from '../src/camera/archive';
import { bucketFor } from '../src/camera/recordings';
import { contains, endOf, following, hold, minorStep, stepFor, ticks, timeAt, viewAt, xOf, zoom, LEAST, MOST } from '../src/camera/scale';
import { snap } from '../src/camera/thumbnails';

const NOON = Date.parse('2026-03-10T12:00:00Z');
const HOUR = 3600e3;
const pieces = (starts: number[], length = 1900): Piece[] => starts.map((start) => ({ start, length, bytes: 1000 }));
const every = (step: number, from: number, n: number): number[] => Array.from({ length: n }, (_, k) => from + k * step);

describe('the view', () => {
  it('puts times on places and back', () => {
    const view = viewAt(NOON, HOUR);
    expect(xOf(view, NOON, 1000)).toBeCloseTo(500);
    for (const x of [0, 1, 333.3, 1000]) expect(xOf(view, timeAt(view, x, 1000), 1000)).toBeCloseTo(x, 3);
  });

  it('zooms around the hand, from a month to a second and no further', () => {
    let view = viewAt(NOON, HOUR);
    const hand = view.start + 0.3 * view.span;
    for (let n = 0; n < 60; n++) { view = zoom(view, 0.7, hand); expect(xOf(view, hand, 1)).toBeCloseTo(0.3, 5); }
    expect(view.span).toBe(LEAST);
    for (let n = 0; n < 90; n++) view = zoom(view, 1.5, hand);
    expect(view.span).toBe(MOST);
  });

  it('cannot be lost in empty time', () => {
    const far = hold({ start: NOON + 1000 * HOUR, span: HOUR }, NOON - 24 * HOUR, NOON);
    expect(endOf(far)).toBeGreaterThan(NOON);
    expect(far.start).toBeLessThanOrEqual(NOON);
    const old = hold({ start: 0, span: HOUR }, NOON - 24 * HOUR, NOON);
    expect(contains(old, NOON - 24 * HOUR)).toBe(true);
  });

  it('follows live at its right, and turns the page for a recording', () => {
    const view = { start: NOON, span: HOUR };
    expect((NOON - following(view, NOON, true).start) / HOUR).toBeCloseTo(0.9);
    expect(following(view, NOON + 0.5 * HOUR, false)).toBe(view);
    expect(contains(following(view, NOON + 0.96 * HOUR, false), NOON + 0.96 * HOUR)).toBe(true);
  });
});

describe('ticks', () => {
  it('stay apart at every zoom and lie on round times', () => {
    for (let span = LEAST; span <= MOST; span *= 1.7) {
      const view = { start: NOON + 123, span };
      const found = ticks(view, 1200, 'utc');
      const step = stepFor(view, 1200);
      expect(found.length).toBeGreaterThan(1);
      expect(found.length).toBeLessThan(17);
      for (const tick of found) expect(Math.abs(tick.at % Math.min(step, 86400e3))).toBeLessThan(0.001);
      expect((minorStep(view, 1200) / span) * 1200).toBeGreaterThanOrEqual(7);
    }
  });

  it('say the day at midnight and the time elsewhere', () => {
    const labels = ticks({ start: Date.parse('2026-03-10T21:00:00Z'), span: 6 * HOUR }, 600, 'utc').map((tick) => tick.label);
    expect(labels).toContain('22:00');
    expect(labels).toContain('11 Mar');
  });
});

describe('coverage', () => {
  it('joins fragments though their listed length is short, or nothing', () => {
    for (const length of [1900, 1500, 0]) {
      const spans = spansOf(pieces(every(2000, NOON, 50), length));
      expect(spans).toEqual([{ from: NOON, to: NOON + 100e3 }]);
    }
  });

  it('shows a single missing fragment as a gap', () => {
    const starts = every(2000, NOON, 50).filter((_, n) => n !== 20);
    const spans = spansOf(pieces(starts));
    expect(spans).toHaveLength(2);
    expect(gapsBetween(spans, NOON, NOON + 100e3)).toEqual([{ from: NOON + 40e3, to: NOON + 42e3 }]);
  });

  it('takes a lone fragment for at least its length', () => {
    expect(spansOf(pieces([NOON], 9000))).toEqual([{ from: NOON, to: NOON + 9000 }]);
    expect(spansOf([])).toEqual([]);
    expect(usualStep([])).toBe(2000);
  });

  it('joins hours that touch, and lists the gaps at both ends', () => {
    const joined = join([{ from: 10, to: 20 }, { from: 0, to: 9.9 }, { from: 40, to: 50 }], 0.5);
    expect(joined).toEqual([{ from: 0, to: 20 }, { from: 40, to: 50 }]);
    expect(gapsBetween(joined, -5, 60)).toEqual([{ from: -5, to: 0 }, { from: 20, to: 40 }, { from: 50, to: 60 }]);
    expect(gapsBetween([], 0, 1)).toEqual([{ from: 0, to: 1 }]);
  });

  it('finds and merges by time', () => {
    const list = pieces([10, 20, 30]);
    expect([5, 10, 15, 30, 99].map((at) => indexAt(list, at))).toEqual([-1, 0, 0, 2, 2]);
    expect(merge(pieces([1, 2, 3]), pieces([3, 4])).map((piece) => piece.start)).toEqual([1, 2, 3, 4]);
    expect(merge(pieces([3]), pieces([1])).map((piece) => piece.start)).toEqual([1, 3]);
  });
});

describe('ranges of the archive', () => {
  const now = NOON + 3 * HOUR;
  const oldest = NOON - 24 * HOUR;

  it('are the same for neighbours and contain the moment', () => {
    const range = rangeFor(NOON + 61e3, now, oldest);
    expect(range).toEqual(rangeFor(NOON + 120e3, now, oldest));
    expect(range.start).toBeLessThanOrEqual(NOON + 41e3);
    expect(range.end - range.start).toBe(15 * 60e3);
  });

  it('end in the past and begin within the retention', () => {
    const range = rangeFor(now - 5000, now, oldest);
    expect(range.end).toBeLessThanOrEqual(now - 1000);
    expect(range.end).toBeGreaterThan(range.start);
    expect(rangeFor(oldest + 10, now, oldest).start).toBe(oldest);
  });

  it('follow each other without a hole, also when the playlist was full', () => {
    const range = rangeFor(NOON, now, oldest);
    expect(rangeAfter(range, range.end + 800, now, oldest)).toEqual({ start: range.end, end: range.end + 15 * 60e3 });
    expect(rangeAfter(range, range.start + 200e3, now, oldest).start).toBe(range.start + 200e3);
    expect(rangeFrom(NOON, now, oldest).start).toBe(NOON - 20e3);
  });
});

it('a month is sampled in at most 130 pieces, and thumbnails are asked for on shared times', () => {
  for (const days of [2, 7, 14, 31]) expect((days * 86400e3) / bucketFor(days * 86400e3)).toBeLessThanOrEqual(130);
  expect(snap(NOON + 777, { start: NOON }, HOUR)).toBe(NOON);
  expect(snap(NOON + 61e3, undefined, 5 * 86400e3)).toBe(NOON + 60e3);
  expect(snap(NOON + 777, false, HOUR)).toBe(NOON);
});
