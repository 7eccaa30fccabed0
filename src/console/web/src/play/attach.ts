// hls.js on a video element: how it is set up for KVS behind this gateway, and its many events cut down to four.
// hls.js is a chunk of its own, asked for as soon as somebody is signed in.

import type HlsClass from 'hls.js';
import type { HlsConfig, LoadPolicy, LoaderCallbacks, LoaderConfiguration, LoaderContext, PlaylistLoaderContext } from 'hls.js';
import { beginAt, type Piece } from './master';
import { outcomeOf, type Fetched } from './tally';
import { worthAnotherTry } from './trouble';

export const loadPlayer = (): Promise<typeof import('hls.js')> => import('hls.js');

/** Whether the browser plays a type, or nothing if it has no Media Source Extensions at all. */
export function support(): ((type: string) => boolean) | undefined {
  const source = (globalThis as { ManagedMediaSource?: typeof MediaSource }).ManagedMediaSource ?? globalThis.MediaSource;
  return source ? (type) => source.isTypeSupported(type) : undefined;
}

export interface Attachment {
  /** What the playlist holds now. */
  pieces(): readonly Piece[];
  /** How long its fragments are, in ms. */
  target(): number;
  /** hls.js's own idea of how far behind the live edge it is, in ms, if the playlist has no times. */
  latency(): number | undefined;
  /** Goes to the newest pictures. */
  toLive(): void;
  /** From now on asks by this playback URL for the same; false if this player cannot. */
  askBy(url: string): boolean;
  detach(): void;
}

export interface Events {
  fetched(fetched: Fetched): void;
  /** A playlist came. */
  listed(): void;
  /** A request failed and will be tried again. */
  hindered(status: number | undefined): void;
  /** The player gave up; `status` as far as a request was the cause. */
  fatal(kind: 'network' | 'media', status: number | undefined, detail: string): void;
}

// Requests that somebody decided about fail at once, so that the page can say so; the rest is tried again for about
// twenty seconds, which is longer than a gateway takes to restart.
const patient: LoadPolicy = {
  default: {
    maxTimeToFirstByteMs: 8000, maxLoadTimeMs: 20_000,
    timeoutRetry: { maxNumRetry: 3, retryDelayMs: 0, maxRetryDelayMs: 0 },
    errorRetry: {
      maxNumRetry: 7, retryDelayMs: 500, maxRetryDelayMs: 4000, backoff: 'exponential',
      shouldRetry: (config, count, _timeout, response) => !!config && count < config.maxNumRetry && worthAnotherTry(response?.code),
    },
  },
};

/** Plays `url` on `video`. `from` is when to begin in a recording; without it, live. */
export async function attach(video: HTMLVideoElement, url: string, from: number | undefined, events: Events, signal: AbortSignal): Promise<Attachment> {
  const { default: Hls } = await loadPlayer();
  signal.throwIfAborted();
  if (!Hls.isSupported()) return attachNative(video, url, from);
  const live = from === undefined;
  let newest: string | undefined;
  const hls = new Hls({
    ...quiet,
    xhrSetup: (xhr, asked) => { if (newest) xhr.open('GET', by(newest, asked), true); },
    manifestLoadPolicy: patient, playlistLoadPolicy: patient, fragLoadPolicy: patient,
    // KVS lists five fragments; two behind the edge is as near as it gets without stalls.
    liveSyncDurationCount: 2, liveMaxLatencyDurationCount: 7, maxLiveSyncPlaybackRate: 1.06,
    maxBufferLength: live ? 12 : 20, maxMaxBufferLength: live ? 20 : 40, backBufferLength: live ? 4 : 30,
    startFragPrefetch: true, nudgeMaxRetry: 8,
    ...(live ? {} : { pLoader: loaderThatBegins(Hls, from) }),
  });
  follow(hls, Hls, events);
  hls.attachMedia(video);
  hls.loadSource(url);
  const details = () => hls.latestLevelDetails ?? hls.levels[0]?.details;
  return {
    pieces: () => (details()?.fragments ?? []).map((fragment) => ({ wall: fragment.programDateTime ?? NaN, media: fragment.start, length: fragment.duration })),
    target: () => (details()?.targetduration ?? 2) * 1000,
    latency: () => (hls.latency > 0 ? hls.latency * 1000 : undefined),
    toLive: () => { if (hls.liveSyncPosition) video.currentTime = hls.liveSyncPosition; },
    askBy: (url) => { newest = url; return true; },
    detach: () => hls.destroy(),
  };
}

/** The address of the same resource by another playback URL: what stands between is the capability. */
export function by(playback: string, asked: string): string {
  const folder = (url: string) => /^(.*\/hls\/v1\/)[^/]+\//.exec(url)?.[0];
  const [from, to] = [folder(asked), folder(playback)];
  return from && to ? to + asked.slice(from.length) : asked;
}

// No worker: fMP4 needs no transmuxing to speak of, and a page with sixteen tiles should not start sixteen threads.
const quiet: Partial<HlsConfig> = { enableWorker: false, lowLatencyMode: false, enableWebVTT: false, enableIMSC1: false, enableCEA708Captions: false, debug: false };

function follow(hls: HlsClass, Hls: typeof HlsClass, events: Events): void {
  const { Events: Name, ErrorTypes } = Hls;
  let recovered = 0;
  hls.on(Name.FRAG_LOADED, (_, { frag, networkDetails }) => {
    const { loading, total } = frag.stats;
    const header = networkDetails instanceof XMLHttpRequest ? networkDetails.getResponseHeader('cache-status') : null;
    events.fetched({ outcome: outcomeOf(header), bytes: total, ms: loading.end - loading.start, firstByte: loading.first - loading.start });
  });
  hls.on(Name.LEVEL_LOADED, () => events.listed());
  hls.on(Name.ERROR, (_, data) => {
    const status = data.response?.code;
    const decided = status !== undefined && status >= 400 && !worthAnotherTry(status);
    if (data.type === ErrorTypes.MEDIA_ERROR && data.fatal && recovered < 2) {
      recovered += 1;
      hls.recoverMediaError();
    } else if (data.fatal || (decided && data.type === ErrorTypes.NETWORK_ERROR)) {
      events.fatal(data.type === ErrorTypes.NETWORK_ERROR ? 'network' : 'media', status, data.details);
    } else if (data.type === ErrorTypes.NETWORK_ERROR) {
      events.hindered(status);
    }
  });
}

/** A loader that writes the place to begin into the playlist on its way to the player. */
function loaderThatBegins(Hls: typeof HlsClass, from: number): NonNullable<HlsConfig['pLoader']> {
  const Plain = Hls.DefaultConfig.loader;
  return class extends Plain {
    override load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
      super.load(context, config, {
        ...callbacks,
        onSuccess: (response, stats, context, details) => {
          if (typeof response.data === 'string') response.data = beginAt(response.data, from);
          callbacks.onSuccess(response, stats, context, details);
        },
      });
    }
  } as unknown as new (config: HlsConfig) => InstanceType<typeof Plain> & { context: PlaylistLoaderContext };
}

/** Safari on older telephones: no Media Source Extensions, but it plays HLS by itself. */
function attachNative(video: HTMLVideoElement, url: string, from: number | undefined): Attachment {
  video.src = url;
  if (from !== undefined) video.addEventListener('loadedmetadata', () => { const begin = startDate(video); if (begin) video.currentTime = (from - begin) / 1000; }, { once: true });
  return {
    pieces: () => { const begin = startDate(video); return begin ? [{ wall: begin, media: 0, length: Number.isFinite(video.duration) ? video.duration : 86400 }] : []; },
    target: () => 4000,
    latency: () => undefined,
    askBy: () => false,
    toLive: () => { const { seekable } = video; if (seekable.length) video.currentTime = seekable.end(seekable.length - 1); },
    detach: () => { video.removeAttribute('src'); video.load(); },
  };
}

function startDate(video: HTMLVideoElement): number | undefined {
  const date = (video as HTMLVideoElement & { getStartDate?(): Date }).getStartDate?.().getTime();
  return date === undefined || Number.isNaN(date) ? undefined : date;
}
