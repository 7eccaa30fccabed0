// How many columns make the tiles largest. Pure.

/** The line with a tile's name below its picture, in px; `.tile-foot` has this height. */
const FOOT = 30;
/** Left and right border of a tile, in px. */
const BORDERS = 2;
/** Below this a screen is a telephone's: tiles take its width, and it scrolls. */
const NARROW = 640;

/** Columns for `n` tiles of 16:9 in a space, keeping tiles at least `least` px wide; the rest scrolls. */
export function columns(n: number, width: number, height: number, gap: number, least = 150): number {
  if (width < NARROW) return n <= 4 || width < 300 ? 1 : 2;
  const most = Math.max(1, Math.floor((width + gap) / (least + gap)));
  let best = 1;
  let bestArea = 0;
  for (let count = 1; count <= Math.min(Math.max(1, n), most); count++) {
    const rows = Math.ceil(n / count);
    const byWidth = (width - gap * (count - 1)) / count;
    const byHeight = widthFor((height - gap * (rows - 1)) / rows);
    const tile = Math.min(byWidth, byHeight);
    // A little scrolling beats postage stamps.
    const shown = tile < least ? Math.min(byWidth, least) : tile;
    if (shown > bestArea + 0.5) { best = count; bestArea = shown; }
  }
  return best;
}

/** The width of one tile so that all rows fit; not below `least`. */
export function tileWidth(n: number, count: number, width: number, height: number, gap: number, least = 150): number {
  if (width < NARROW) return Math.floor((width - gap * (count - 1)) / count);
  const rows = Math.ceil(Math.max(1, n) / count);
  const byWidth = (width - gap * (count - 1)) / count;
  const byHeight = widthFor((height - gap * (rows - 1)) / rows);
  const widest = Math.max(Math.min(byWidth, byHeight), Math.min(byWidth, least));
  // Pictures of whole pixels in both directions: else a dark hair stays below some.
  return Math.floor((widest - BORDERS) / 16) * 16 + BORDERS;
}

/** How wide a tile of a height is: 16:9 and its name below. */
const widthFor = (height: number): number => (height - FOOT) * (16 / 9);

/** Which tiles have moving pictures: those on the screen, at most so many, and first of all those that have them already. */
export function movingTiles(onScreen: readonly string[], before: ReadonlySet<string>, most: number): Set<string> {
  const kept = onScreen.filter((name) => before.has(name)).slice(0, most);
  const others = onScreen.filter((name) => !before.has(name)).slice(0, most - kept.length);
  return new Set([...kept, ...others]);
}

/** The streams of a wall in its order; those that are not there are left out. */
export function picked<T extends { readonly name: string }>(streams: readonly T[], names: readonly string[] | undefined): readonly T[] {
  if (!names) return streams;
  const byName = new Map(streams.map((stream) => [stream.name, stream]));
  return names.map((name) => byName.get(name)).filter((stream) => stream !== undefined);
}
