// What a clip will be: its size, whether KVS would cut it, and how to get it whole in parts. Pure.
// KVS takes the fragments that begin between start and end, both inclusive, and stops at 100 MB or 200 fragments.

import { gapsBetween, indexAt, spansOf, usualStep, type Piece, type Span } from './coverage';

export const MOST_FRAGMENTS = 200;
export const MOST_BYTES = 100e6;
export const LONGEST = 24 * 3600e3;
// Parts stay clear of the limit: sizes in the list are those of the stored fragments, not of the finished file.
const PART_FRAGMENTS = 190;
const PART_BYTES = 92e6;

export interface Part extends Span { readonly fragments: number; readonly bytes: number }
export interface Estimate {
  readonly fragments: number; readonly bytes: number;
  /** What to ask KVS for so that the first marked moment is inside. */
  readonly from: number; readonly to: number;
  /** Where KVS would cut, and which limit does it. */
  readonly cut?: { readonly at: number; readonly by: 'fragments' | 'bytes' };
  readonly parts: readonly Part[];
  readonly gaps: readonly Span[];
}

/** Estimates the clip between two marks from the fragments known around them, sorted. */
export function estimate(pieces: readonly Piece[], markIn: number, markOut: number): Estimate {
  const step = usualStep(pieces);
  const running = indexAt(pieces, markIn);
  const before = pieces[running];
  const first = before && markIn < before.start + Math.max(before.length, step) ? running : running + 1;
  const inside = pieces.slice(first).filter((piece) => piece.start <= markOut);
  const from = inside[0] && inside[0].start < markIn ? inside[0].start : markIn;
  const bytes = inside.reduce((sum, piece) => sum + piece.bytes, 0);
  const cut = cutOf(inside);
  return {
    fragments: inside.length, bytes, from, to: markOut, ...(cut && { cut }), parts: partsOf(inside, from, markOut),
    gaps: inside.length ? gapsBetween(spansOf(inside, step), markIn, markOut).filter((gap) => gap.to - gap.from > Math.max(500, step / 2)) : [],
  };
}

function cutOf(inside: readonly Piece[]): Estimate['cut'] {
  let bytes = 0;
  for (const [nth, piece] of inside.entries()) {
    bytes += piece.bytes;
    if (nth >= MOST_FRAGMENTS) return { at: piece.start, by: 'fragments' };
    if (bytes > MOST_BYTES) return { at: piece.start, by: 'bytes' };
  }
  return undefined;
}

function partsOf(inside: readonly Piece[], from: number, to: number): Part[] {
  const parts: { from: number; to: number; fragments: number; bytes: number }[] = [];
  for (const piece of inside) {
    const last = parts.at(-1);
    if (last && last.fragments < PART_FRAGMENTS && last.bytes + piece.bytes <= PART_BYTES) {
      last.fragments += 1;
      last.bytes += piece.bytes;
    } else {
      if (last) last.to = piece.start - 1;
      parts.push({ from: last ? piece.start : from, to, fragments: 1, bytes: piece.bytes });
    }
  }
  return parts;
}

/** `lobby_2026-11-22T10-00-00Z_60s.mp4`: sorts by time, and no file system minds it. */
export function fileName(stream: string, from: number, to: number, part: number): string {
  const start = new Date(Math.floor(from / 1000) * 1000).toISOString().replace('.000', '').replaceAll(':', '-');
  return `${stream.replace(/[^\w.-]/g, '_')}_${start}_${Math.max(1, Math.round((to - from) / 1000))}s${part ? `_part${part}` : ''}.mp4`;
}
