// What a tile or the stage says about its picture. One type, one function to words: no state is only a spinner. Pure.

import { text } from '../text';
import { duration, moment, type Zone } from '../words';

/** Times are ms since 1970, `behind` is ms. */
export type State =
  | { readonly is: 'paused' | 'signedOut' | 'gone' | 'ended' | 'archive' }
  /** `since`: pictures came until then. */
  | { readonly is: 'denied'; readonly since?: number }
  | { readonly is: 'opening' | 'waiting' | 'buffering'; readonly since: number }
  | { readonly is: 'live'; readonly behind?: number }
  | { readonly is: 'delayed'; readonly behind: number }
  | { readonly is: 'silent'; readonly last?: number | 'long ago' }
  | { readonly is: 'unreachable' | 'troubled' | 'busy'; readonly until: number }
  | { readonly is: 'unsupported' | 'broken' | 'stills'; readonly why: string };

export type Tone = 'good' | 'calm' | 'warn' | 'bad';
export interface Words { readonly title: string; readonly detail: string; readonly tone: Tone }

const seconds = (ms: number): number => Math.max(0, Math.round(ms / 1000));

/** A state in words. */
export function wordsOf(state: State, now: number, zone: Zone): Words {
  const say = ([title = '', detail = '']: readonly string[], tone: Tone): Words => ({ title, detail, tone });
  const words = text.state;
  switch (state.is) {
    case 'paused': return say(words.paused, 'calm');
    case 'opening': return say(now - state.since < 4000 ? words.opening : words.openingSlow(seconds(now - state.since)), 'calm');
    case 'live': return say(state.behind === undefined ? words.live : words.liveBehind(seconds(state.behind)), 'good');
    case 'delayed': return say(words.delayed(seconds(state.behind)), 'warn');
    case 'waiting': return say(words.waiting(seconds(now - state.since)), 'warn');
    case 'buffering': return say(words.buffering(seconds(now - state.since)), 'calm');
    case 'silent': {
      if (state.last === undefined) return say(words.silent, 'bad');
      if (state.last === 'long ago') return say(words.silentLong, 'bad');
      return say(words.silentSince(moment(state.last, now, zone), duration(now - state.last)), 'bad');
    }
    case 'denied': return say(state.since === undefined ? words.denied : words.deniedSince(moment(state.since, now, zone)), 'bad');
    case 'signedOut': return say(words.signedOut, 'warn');
    case 'unreachable': return say(words.unreachable(seconds(state.until - now)), 'bad');
    case 'troubled': return say(words.troubled(seconds(state.until - now)), 'bad');
    case 'busy': return say(words.busy(seconds(state.until - now)), 'warn');
    case 'gone': return say(words.gone, 'bad');
    case 'ended': return say(words.ended, 'calm');
    case 'archive': return say(words.archive, 'good');
    case 'unsupported': return say([words.unsupported[0] ?? '', state.why], 'bad');
    case 'broken': return say([words.broken[0] ?? '', state.why], 'bad');
    case 'stills': return say(words.stills(state.why), 'warn');
  }
}

/** Whether the moving picture is to be trusted as it is, so that words may step back. */
export const isFine = (state: State): boolean => state.is === 'live' || state.is === 'archive';

/** Live, or behind by more than a viewer expects of fragments this long (both in ms). */
export function liveness(behind: number | undefined, target: number): State {
  if (behind === undefined) return { is: 'live' };
  return behind > 4 * target + 5000 ? { is: 'delayed', behind } : { is: 'live', behind };
}

/** The end of the newest fragment, if it is so long ago that the camera must be silent; times and `target` in ms. */
export function silentSince(newestEnd: number, target: number, now: number): number | undefined {
  return now - newestEnd > 3 * target + 10e3 ? newestEnd : undefined;
}
