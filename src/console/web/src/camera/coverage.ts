// From a list of fragments to what was recorded when. Pure.
//
// KVS gives a fragment's length as last frame minus first, which is shorter than it lasts and 0 for some producers
// (docs/KVS.md 4.2), so a fragment is taken to last until the next one, unless that is longer than fragments of this list
// usually are apart.

export interface Piece { readonly start: number; readonly length: number; readonly bytes: number }
export interface Span { readonly from: number; readonly to: number }

/** The usual distance from one fragment to the next: the median; 2 s if there are too few. */
export function usualStep(pieces: readonly Piece[]): number {
  const steps: number[] = [];
  for (let n = 1; n < pieces.length; n++) steps.push((pieces[n] as Piece).start - (pieces[n - 1] as Piece).start);
  const sane = steps.filter((step) => step > 0 && step <= 30e3).sort((a, b) => a - b);
  return sane[sane.length >> 1] ?? Math.max(2000, pieces[0]?.length ?? 0);
}

/** Merges fragments, sorted by start, into stretches without gaps. */
export function spansOf(pieces: readonly Piece[], step = usualStep(pieces)): Span[] {
  const spans: { from: number; to: number }[] = [];
  for (const piece of pieces) {
    const last = spans.at(-1);
    const to = piece.start + Math.max(piece.length, step);
    if (last && piece.start - last.to <= Math.max(300, step * 0.3)) last.to = Math.max(last.to, to);
    else spans.push({ from: piece.start, to });
    const before = spans.at(-2);
    const current = spans.at(-1);
    if (before && current && before.to > current.from) before.to = current.from;
  }
  return spans;
}

/** Joins lists of stretches that lie one after the other and touch. */
export function join(spans: readonly Span[], tolerance: number): Span[] {
  const joined: { from: number; to: number }[] = [];
  for (const span of [...spans].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last && span.from - last.to <= tolerance) last.to = Math.max(last.to, span.to);
    else joined.push({ ...span });
  }
  return joined;
}

/** What lies between stretches, inside a range. */
export function gapsBetween(spans: readonly Span[], from: number, to: number): Span[] {
  const gaps: Span[] = [];
  let at = from;
  for (const span of spans) {
    if (span.to <= from || span.from >= to) continue;
    if (span.from > at) gaps.push({ from: at, to: span.from });
    at = Math.max(at, span.to);
  }
  if (at < to) gaps.push({ from: at, to });
  return gaps;
}

/** The index of the last piece that begins at or before a time; -1 if none does. */
export function indexAt(pieces: readonly Piece[], at: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((pieces[middle] as Piece).start <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Two sorted lists as one, without doubles. */
export function merge(a: readonly Piece[], b: readonly Piece[]): Piece[] {
  const last = a.at(-1)?.start ?? -Infinity;
  if (b.length === 0 || (b[0] as Piece).start > last) return [...a, ...b];
  const all = new Map<number, Piece>();
  for (const piece of a) all.set(piece.start, piece);
  for (const piece of b) all.set(piece.start, piece);
  return [...all.values()].sort((x, y) => x.start - y.start);
}

/** The gaps between two moments of a list of fragments, sorted; not the pauses that every producer makes. */
export function gapsInside(pieces: readonly Piece[], from: number, to: number): Span[] {
  const step = usualStep(pieces);
  return gapsBetween(spansOf(pieces, step), from, to).filter((gap) => gap.to - gap.from > Math.max(500, step / 2));
}
