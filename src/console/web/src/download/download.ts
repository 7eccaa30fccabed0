// The download that this page does itself: one at a time. It goes on while the viewer looks at another camera.

import { type ClipFile } from '../api';
import { now } from '../present';
import { type Session } from '../session/session';
import { Pace } from './pace';
import { type Sink } from './sink';
import { transfer, type Stage } from './transfer';

export type Outcome = { readonly is: 'running' } | { readonly is: 'done' } | { readonly is: 'cancelled' } | { readonly is: 'failed'; readonly why: unknown };

export class Download {
  stage: Stage = { is: 'starting' };
  outcome: Outcome = { is: 'running' };
  got = 0;
  total: number;
  readonly pace = new Pace();
  readonly file: ClipFile;
  private readonly controller = new AbortController();

  constructor(file: ClipFile) {
    this.file = file;
    this.total = file.bytes;
  }

  cancel(): void { this.controller.abort(); }

  /** Runs to its end, which `outcome` tells. */
  async run(session: Session, sink: Sink): Promise<void> {
    const { signal } = this.controller;
    session.addEventListener('change', () => { if (session.standing === 'out') this.cancel(); }, { signal });
    addEventListener('beforeunload', (event) => event.preventDefault(), { signal });
    try {
      await transfer({
        open: (from, etag, signal) => session.api.part(this.file.path, from, etag, signal),
        signedIn: (signal) => signedIn(session, signal),
        pause, now,
        stage: (stage) => { this.stage = stage; if (stage.is !== 'loading') this.pace.reset(); },
        got: (bytes, of) => { this.got = bytes; this.total = of || this.total; this.pace.note(performance.now(), bytes); },
      }, sink, signal);
      this.outcome = { is: 'done' };
    } catch (error) {
      this.outcome = signal.aborted ? { is: 'cancelled' } : { is: 'failed', why: error };
      await sink.discard();
    } finally { this.controller.abort(); }
  }
}

let latest: Download | undefined;

/** The download that runs, or the last one until it is dismissed. */
export const latestDownload = (): Download | undefined => latest;

export function dismiss(): void { if (latest?.outcome.is !== 'running') latest = undefined; }

/** Begins a download; resolves when it has ended. */
export async function begin(session: Session, file: ClipFile, sink: Sink): Promise<Download> {
  const download = (latest = new Download(file));
  await download.run(session, sink);
  return download;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const ended = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal.removeEventListener('abort', ended); resolve(); }, ms);
    signal.addEventListener('abort', ended, { once: true });
  });
}

function signedIn(session: Session, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = () => { if (session.standing === 'in') { session.removeEventListener('change', look); resolve(); } };
    signal.addEventListener('abort', () => { session.removeEventListener('change', look); reject(signal.reason); }, { once: true });
    session.addEventListener('change', look);
    look();
  });
}
