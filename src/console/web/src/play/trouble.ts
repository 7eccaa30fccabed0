// What a refusal means for a picture, in the words that a viewer can act on. Pure.

import { text } from '../text';

/** What went wrong, as far as status and type tell. */
export type Trouble =
  | { readonly is: 'signedOut' } | { readonly is: 'denied' } | { readonly is: 'missing' } | { readonly is: 'unreachable' } | { readonly is: 'troubled' }
  | { readonly is: 'busy'; readonly wait: number } | { readonly is: 'broken'; readonly why: string };

/** Reads a refusal: status (0 when nothing answered), KVS's error type, message, Retry-After in ms. */
export function diagnose(status: number, type = '', message = '', retryAfter?: number): Trouble {
  const reason = text.reason;
  if (status === 0) return { is: 'unreachable' };
  if (type === 'ClientLimitExceededException' || type === 'ConnectionLimitExceededException' || status === 429) return { is: 'busy', wait: retryAfter ?? 5000 };
  if (type === 'NoDataRetentionException') return { is: 'broken', why: reason.noRetention };
  if (type === 'MissingCodecPrivateDataException' || type === 'InvalidCodecPrivateDataException') return { is: 'broken', why: reason.noCodecData };
  if (type === 'UnsupportedStreamMediaTypeException') return { is: 'broken', why: /g\.?711|alaw|ulaw|a_ms\/acm|pcm/i.test(message) ? reason.g711 : reason.mediaType };
  if (status === 401) return { is: 'signedOut' };
  if (status === 403) return { is: 'denied' };
  if (status === 404 || status === 410) return { is: 'missing' };
  if (status >= 500 || status === 408) return { is: 'troubled' };
  return { is: 'broken', why: message };
}

/** Whether asking again for the same thing can help: not when somebody decided. */
export const worthAnotherTry = (status: number | undefined): boolean => ![400, 401, 403, 404, 410].includes(status ?? 0);

/** How long to wait before the n-th try, in ms: doubling from one second to fifteen, spread by `chance` in 0..1. */
export const backoff = (tries: number, chance: number): number => Math.min(15e3, 1000 * 2 ** Math.max(0, tries - 1)) * (0.75 + chance / 2);

/** The same for a gateway that does not answer at all: asking costs nobody anything, and it may be back any moment. */
export const backoffAlone = (tries: number, chance: number): number => Math.min(4000, backoff(tries, chance));

/** Holds requests of one kind back after a failure, for longer each time. Times in ms. */
export class Pause {
  private tries = 0;
  private until = -Infinity;

  /** Whether it is over. */
  isOver(now: number): boolean { return now >= this.until; }

  /** A request failed: hands back how long to wait; at least as long as the gateway asks for. */
  failed(now: number, retryAfter: number | undefined, chance = Math.random()): number {
    this.tries += 1;
    const wait = Math.max(retryAfter ?? 0, backoff(this.tries, chance));
    this.until = now + wait;
    return wait;
  }

  /** One succeeded, or there is reason to think that the next one will. */
  end(): void { this.tries = 0; this.until = -Infinity; }
}

/** Why this browser cannot play these codecs, or nothing if it can. */
export function unplayable(codecs: string, supported: ((type: string) => boolean) | undefined): string | undefined {
  if (!supported) return text.reason.noMse;
  const list = codecs.split(',').map((codec) => codec.trim()).filter(Boolean);
  const bad = list.find((codec) => !supported(`${/^(mp4a|opus|ac-3|ec-3|flac|alac)/i.test(codec) ? 'audio' : 'video'}/mp4; codecs="${codec}"`));
  if (!bad) return undefined;
  return /^(hvc1|hev1)/i.test(bad) ? text.reason.hevc : text.reason.codec(bad);
}
