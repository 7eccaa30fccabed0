// Where the bytes of a download go: to a file that the viewer chose, where the browser has the File System Access API,
// else into memory and from there to the browser's folder for downloads.

import { h } from '../dom';

export interface Sink {
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Forgets what was written: the file begins anew. */
  restart(): Promise<void>;
  finish(): Promise<void>;
  discard(): Promise<void>;
}

/** The disk is full, or the file may not be written. */
export class NotWritten extends Error {}

/** The largest file that is kept in memory, in bytes. */
export const MOST_IN_MEMORY = 1e9;
/** Bytes that are collected before they are written: one write of a file costs the same whatever its size. */
const BATCH = 1 << 20;
/** Bytes in memory that are handed over to the browser, which may keep them on its disk. */
const BLOCK = 16 << 20;

type Handle = FileSystemFileHandle & { remove?(): Promise<void> };
interface Picker { readonly showSaveFilePicker?: (options: { suggestedName: string }) => Promise<Handle> }

export const canPick = (): boolean => 'showSaveFilePicker' in window;

/** The place for a file, asked for where the browser can; nothing if the viewer changed their mind. Needs a click. */
export async function sinkFor(name: string): Promise<Sink | undefined> {
  const picker = window as Picker;
  if (!picker.showSaveFilePicker) return new MemorySink(name);
  try {
    const handle = await picker.showSaveFilePicker({ suggestedName: name });
    return new FileSink(handle, await handle.createWritable());
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined;
    throw new NotWritten(error instanceof Error ? error.message : String(error));
  }
}

class FileSink implements Sink {
  private batch: Uint8Array<ArrayBuffer>[] = [];
  private waiting = 0;
  private readonly handle: Handle;
  private readonly file: FileSystemWritableFileStream;

  constructor(handle: Handle, file: FileSystemWritableFileStream) {
    this.handle = handle;
    this.file = file;
  }

  async write(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    this.batch.push(chunk);
    this.waiting += chunk.length;
    if (this.waiting >= BATCH) await this.flush();
  }

  restart(): Promise<void> {
    this.batch = [];
    this.waiting = 0;
    return written(async () => { await this.file.truncate(0); await this.file.seek(0); });
  }

  async finish(): Promise<void> {
    await this.flush();
    await written(() => this.file.close());
  }

  /** The file is as it was before. One that the dialog has just made goes away. */
  async discard(): Promise<void> {
    await this.file.abort().catch(() => undefined);
    try { if ((await this.handle.getFile()).size === 0) await this.handle.remove?.(); } catch { /* an empty file may stay */ }
  }

  private flush(): Promise<void> {
    const block = new Blob(this.batch);
    this.batch = [];
    this.waiting = 0;
    return written(() => this.file.write(block));
  }
}

class MemorySink implements Sink {
  private blocks: Blob[] = [];
  private chunks: Uint8Array<ArrayBuffer>[] = [];
  private waiting = 0;
  private readonly name: string;

  constructor(name: string) { this.name = name; }

  async write(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    this.chunks.push(chunk);
    this.waiting += chunk.length;
    if (this.waiting >= BLOCK) this.pack();
  }

  async restart(): Promise<void> { this.blocks = []; this.chunks = []; this.waiting = 0; }

  async finish(): Promise<void> {
    this.pack();
    save(new Blob(this.blocks), this.name);
    await this.restart();
  }

  discard(): Promise<void> { return this.restart(); }

  private pack(): void {
    this.blocks.push(new Blob(this.chunks));
    this.chunks = [];
    this.waiting = 0;
  }
}

async function written(act: () => Promise<void>): Promise<void> {
  try { await act(); } catch (error) { throw new NotWritten(error instanceof Error ? error.message : String(error)); }
}

/** Hands a file to the viewer. */
export function save(file: Blob, name: string): void {
  const url = URL.createObjectURL(file);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60e3);
}
