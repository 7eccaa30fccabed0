// What time it is at the gateway. A viewer's clock may be minutes off, and then "4 s behind" and "no signal since"
// would lie; each answer's Date header narrows down by how much.

/** Bounds on how far the gateway's clock is ahead of ours, in ms. */
export interface Offset { readonly low: number; readonly high: number }

/** Nothing is known yet: our own clock is taken as right. */
export const unknown: Offset = { low: -Infinity, high: Infinity };

/** Narrows the bounds by one answer: `date` has whole seconds and was written between `sent` and `received`. */
export function narrow(offset: Offset, date: number, sent: number, received: number): Offset {
  const low = date - received;
  const high = date + 1000 - sent;
  const both = { low: Math.max(offset.low, low), high: Math.min(offset.high, high) };
  return both.low <= both.high ? both : { low, high };
}

/** The best guess within the bounds; a clock that may be right is left alone. */
export function guess({ low, high }: Offset): number {
  if (low <= 0 && high >= 0) return 0;
  return (low + high) / 2;
}

let known = unknown;

/** Notes an answer. */
export function noteDate(header: string | null, sent: number, received: number): void {
  const date = header ? Date.parse(header) : NaN;
  if (!Number.isNaN(date)) known = narrow(known, date, sent, received);
}

/** Now, by the gateway's clock, in ms since 1970. */
export const now = (): number => Date.now() + guess(known);
