// What the gateway says of a clip, in words. Pure.

import { type ClipFormat, type Refused } from '../api';
import { text } from '../text';
import { momentExact, type Zone } from '../words';

const words = text.clip;
const HOUR = 3600e3;

/** The longest clip, in ms. */
const LONGEST = 24 * HOUR;
/** The longest clip with one index at its front, in ms. */
const LONGEST_PLAIN = 2 * HOUR;

/** Why the marks cannot become a file of this format, or nothing if they can. */
export function unfit(from: number, to: number, format: ClipFormat, now: number): string | undefined {
  if (from >= now) return words.inFuture;
  if (to - from > LONGEST) return words.tooLong;
  return format === 'plain' && to - from > LONGEST_PLAIN ? words.plainTooLong : undefined;
}

/** A refusal that the viewer can act on. Of a range without footage the gateway names the nearest. */
export function problemOf({ status, message }: Refused, now: number, zone: Zone): string {
  if (status === 401) return words.signedOut;
  if (status === 403) return words.denied;
  if (status !== 404) return words.refused(message);
  if (!message.startsWith('nothing is recorded')) return message;
  const time = (pattern: RegExp) => {
    const at = Date.parse(pattern.exec(message)?.[1] ?? '');
    return Number.isNaN(at) ? undefined : momentExact(at, now, zone);
  };
  const [before, after] = [time(/ends at ([\dTZ:.-]+)/), time(/begins at ([\dTZ:.-]+)/)];
  return before || after ? words.nearest(before, after) : words.empty;
}
