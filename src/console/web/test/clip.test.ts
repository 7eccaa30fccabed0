import { describe, expect, it } from 'vitest';
import { estimate, fileName, MOST_BYTES } from '../src/camera/estimate';
import type { Piece } from '../src/camera/coverage';

const T = Date.parse('2026-03-10T12:00:00Z');
const list = (n: number, bytes: number, skip: (k: number) => boolean = () => false): Piece[] =>
  Array.from({ length: n }, (_, k) => ({ start: T + k * 2000, length: 1900, bytes })).filter((_, k) => !skip(k));

describe('a clip', () => {
  it('includes the fragment that is running at the first mark', () => {
    const found = estimate(list(30, 1000), T + 4500, T + 10_000);
    expect(found.from).toBe(T + 4000);
    expect(found.fragments).toBe(4);
    expect(found.bytes).toBe(4000);
    expect(found.cut).toBeUndefined();
    expect(found.parts).toHaveLength(1);
  });

  it('of exactly 200 fragments is whole, of 201 is cut', () => {
    expect(estimate(list(200, 1000), T, T + 1e6).cut).toBeUndefined();
    expect(estimate(list(201, 1000), T, T + 1e6).cut).toEqual({ at: T + 400e3, by: 'fragments' });
  });

  it('is cut by size where that comes first', () => {
    const found = estimate(list(100, 2e6), T, T + 1e6);
    expect(found.cut?.by).toBe('bytes');
    expect(found.cut?.at).toBe(T + 50 * 2000);
  });

  it('in parts has every fragment once and stays below both limits', () => {
    for (const [n, bytes] of [[1000, 10_000], [300, 3e6], [5, 99e6]] as const) {
      const all = list(n, bytes);
      const { parts } = estimate(all, T, T + n * 2000);
      expect(parts.reduce((sum, part) => sum + part.fragments, 0)).toBe(n);
      for (const part of parts) {
        expect(part.fragments).toBeLessThanOrEqual(200);
        if (bytes < 90e6) expect(part.bytes).toBeLessThanOrEqual(MOST_BYTES);
        expect(all.filter((piece) => piece.start >= part.from && piece.start <= part.to)).toHaveLength(part.fragments);
      }
    }
  });

  it('tells of gaps inside, and of nothing at all', () => {
    const gappy = estimate(list(40, 1000, (k) => k >= 10 && k < 20), T, T + 78_000);
    expect(gappy.gaps).toEqual([{ from: T + 20_000, to: T + 40_000 }]);
    const empty = estimate([], T, T + 1000);
    expect(empty).toMatchObject({ fragments: 0, bytes: 0, parts: [], gaps: [] });
    const after = estimate(list(5, 1000), T + 60e3, T + 70e3);
    expect(after.fragments).toBe(0);
  });

  it('has a name that sorts by time and that any file system takes', () => {
    expect(fileName('cam-1', T + 500, T + 60_500, 0)).toBe('cam-1_2026-03-10T12-00-00Z_60s.mp4');
    expect(fileName('a/b:c', T, T + 1, 2)).toBe('a_b_c_2026-03-10T12-00-00Z_1s_part2.mp4');
  });
});
