// Which range of the archive to open for a moment. Pure.
//
// Ranges lie on a grid, so that everybody who looks at about the same time asks for the same range and the gateway
// opens one session at KVS for all; and scrubbing inside a range costs no new one.

const GRID = 5 * 60e3;
const LENGTH = 15 * 60e3;
/** KVS leaves out the fragment that is already running at the start; none is longer than this. */
const RUNNING = 20e3;
/** KVS wants the end to be past. */
const SETTLE = 1000;

export interface Range { readonly start: number; readonly end: number }

/** The range that shows `at`. `oldest` is where the stream's retention ends. */
export function rangeFor(at: number, now: number, oldest: number): Range {
  const start = Math.floor((at - RUNNING) / GRID) * GRID;
  return close(start, start + LENGTH, now, oldest);
}

/** A range that begins right before `at`: for streams with more fragments in a quarter of an hour than a playlist holds. */
export function rangeFrom(at: number, now: number, oldest: number): Range {
  return close(Math.floor(at - RUNNING), Math.floor(at - RUNNING) + LENGTH, now, oldest);
}

/** The range after the one that ended with `last`: the grid's next, or on from where KVS's playlist was full. */
export function rangeAfter(range: Range, last: number, now: number, oldest: number): Range {
  if (last < range.end - 60e3) return close(Math.ceil(last), Math.ceil(last) + LENGTH, now, oldest);
  return close(range.end, range.end + LENGTH, now, oldest);
}

function close(start: number, end: number, now: number, oldest: number): Range {
  const latest = Math.floor((now - SETTLE) / 1000) * 1000;
  const from = Math.max(start, oldest);
  return { start: from, end: Math.max(Math.min(end, latest), from + 1000) };
}
