// What live does not show: the list of a camera that was silent begins behind the gap, and the rest is in the archive.

import type { Stream } from '../api';

/** How much of what was recorded before a gap is shown, in ms. */
const BEFORE = 10e3;

/** A time a little before the last gap, in ms; undefined if live leaves nothing out. */
export function beforeGap(stream: Pick<Stream, 'live'>): number | undefined {
  return stream.live?.gap ? Date.parse(stream.live.gap.from) - BEFORE : undefined;
}
