// A file from the gateway to a place for it, whole or not at all. What breaks on the way goes on from the byte that was
// reached, and from the beginning if the file has become another one in between. Knows neither fetch nor the page.

import { Refused, type FilePart } from '../api';
import { backoff, worthAnotherTry } from '../play/trouble';
import { NotWritten, type Sink } from './sink';

export type Stage =
  | { readonly is: 'starting' } | { readonly is: 'loading' } | { readonly is: 'finishing' }
  | { readonly is: 'waiting'; readonly until: number; readonly busy: boolean } | { readonly is: 'signedOut' };

/** What a transfer needs of the world. `open` begins at a byte if the file is still the version of `etag`. */
export interface World {
  open(from: number, etag: string | undefined, signal: AbortSignal): Promise<FilePart>;
  /** Resolves when the viewer is signed in. */
  signedIn(signal: AbortSignal): Promise<void>;
  pause(ms: number, signal: AbortSignal): Promise<void>;
  now(): number;
  stage(stage: Stage): void;
  /** How many bytes are there, of how many; 0 if unknown. */
  got(bytes: number, of: number): void;
}

/** The file was another one each time, because its end is still being recorded. */
export class Changing extends Error {}

/** Without a byte for so long the connection counts as lost, in ms: a gateway answers or gives up within this. */
const STALLED = 60e3;
const MOST_CHANGES = 3;

interface Progress { at: number; etag: string | undefined; changes: number; tries: number }

/** Fetches a file. Ends with an error that is not worth another try, or with that of `signal`. */
export async function transfer(world: World, sink: Sink, signal: AbortSignal): Promise<void> {
  const progress: Progress = { at: 0, etag: undefined, changes: 0, tries: 0 };
  world.stage({ is: 'starting' });
  for (;;) {
    try {
      if (await attempt(world, sink, progress, signal)) break;
      await wait(world, progress, new Refused(0, 'Network', ''), signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof NotWritten || error instanceof Changing) throw error;
      // What is no refusal is a body that broke or stalled.
      const refused = error instanceof Refused ? error : new Refused(0, 'Network', '');
      if (refused.status !== 401 && !worthAnotherTry(refused.status)) throw error;
      await wait(world, progress, refused, signal);
    }
  }
  world.stage({ is: 'finishing' });
  await sink.finish();
}

/** One request; whether the file is complete after it. */
async function attempt(world: World, sink: Sink, progress: Progress, signal: AbortSignal): Promise<boolean> {
  const stalled = new AbortController();
  let timer = setTimeout(() => stalled.abort(), STALLED);
  try {
    const part = await world.open(progress.at, progress.etag, AbortSignal.any([signal, stalled.signal]));
    if (part.from !== progress.at) await beginAnew(sink, progress, part.from);
    progress.etag = part.etag || undefined;
    world.stage({ is: 'loading' });
    world.got(progress.at, part.total);
    const reader = part.body.getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      clearTimeout(timer);
      await sink.write(chunk.value);
      progress.at += chunk.value.length;
      progress.tries = 0;
      world.got(progress.at, part.total);
      timer = setTimeout(() => stalled.abort(), STALLED);
    }
    return part.total === 0 || progress.at === part.total;
  } finally {
    clearTimeout(timer);
    stalled.abort();
  }
}

async function beginAnew(sink: Sink, progress: Progress, from: number): Promise<void> {
  progress.changes += 1;
  if (progress.changes > MOST_CHANGES || from !== 0) throw new Changing();
  progress.at = 0;
  await sink.restart();
}

async function wait(world: World, progress: Progress, refused: Refused, signal: AbortSignal): Promise<void> {
  progress.tries += 1;
  const ms = Math.max(refused.retryAfter ?? 0, backoff(progress.tries, Math.random()));
  if (refused.status === 401) world.stage({ is: 'signedOut' });
  else world.stage({ is: 'waiting', until: world.now() + ms, busy: refused.retryAfter !== undefined });
  await world.pause(ms, signal);
  if (refused.status === 401) await world.signedIn(signal);
}
