// Counts what a player fetched: bytes, time to the first byte, and what the gateway's cache had to do (RFC 9211).

export type Outcome = 'hit' | 'miss' | 'collapsed' | 'stale' | 'bypass' | 'unknown';

/** Reads our own entry of a Cache-Status header; the last one is the nearest cache. */
export function outcomeOf(header: string | null): Outcome {
  const entries = (header ?? '').split(',').map((entry) => entry.trim());
  const entry = entries.findLast((entry) => /^"?kvs-edge"?\s*(;|$)/.test(entry));
  if (!entry) return 'unknown';
  const parts = entry.split(';').map((part) => part.trim());
  if (parts.includes('collapsed')) return 'collapsed';
  if (parts.includes('hit')) return 'hit';
  const forwarded = parts.find((part) => part.startsWith('fwd='))?.slice(4);
  if (forwarded === 'stale') return 'stale';
  if (forwarded === 'bypass' || forwarded === 'method') return 'bypass';
  return forwarded ? 'miss' : 'unknown';
}

export interface Fetched { readonly outcome: Outcome; readonly bytes: number; readonly ms: number; readonly firstByte: number }

export class Tally {
  /** The newest last, at most forty. */
  readonly recent: Fetched[] = [];
  readonly counts: Record<Outcome, number> = { hit: 0, miss: 0, collapsed: 0, stale: 0, bypass: 0, unknown: 0 };
  bytes = 0;
  private windowStart = 0;
  private windowBytes = 0;
  /** Bytes in a second, over the last ten or so. */
  rate = 0;

  note(fetched: Fetched, now: number): void {
    this.recent.push(fetched);
    if (this.recent.length > 40) this.recent.shift();
    this.counts[fetched.outcome] += 1;
    this.bytes += fetched.bytes;
    this.windowBytes += fetched.bytes;
    if (this.windowStart === 0) this.windowStart = now;
    const elapsed = now - this.windowStart;
    if (elapsed > 1000) this.rate = (this.windowBytes * 1000) / elapsed;
    if (elapsed > 10e3) { this.windowStart = now; this.windowBytes = 0; }
  }

  get fragments(): number { return Object.values(this.counts).reduce((sum, n) => sum + n, 0); }
}
