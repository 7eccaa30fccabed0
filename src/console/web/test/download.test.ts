import { describe, expect, it } from 'vitest';
import { Refused, type FilePart } from '../src/api';
import { Pace } from '../src/download/pace';
import { NotWritten, type Sink } from '../src/download/sink';
import { Changing, transfer, type World } from '../src/download/transfer';

const file = Uint8Array.from({ length: 1000 }, (_, n) => (n * 7) % 251);

/** A body that has these bytes and then ends, or breaks. */
function body(bytes: Uint8Array<ArrayBuffer>, breaks: boolean): FilePart['body'] {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < bytes.length) { controller.enqueue(bytes.slice(at, at + 100)); at += 100; }
      else if (breaks) controller.error(new TypeError('network error'));
      else controller.close();
    },
  });
}

class Memory implements Sink {
  bytes: number[] = [];
  finished = false;
  async write(chunk: Uint8Array): Promise<void> { this.bytes.push(...chunk); }
  async restart(): Promise<void> { this.bytes = []; }
  async finish(): Promise<void> { this.finished = true; }
  async discard(): Promise<void> { this.bytes = []; }
}

/** What the gateway does with each request, the last over and over, and what was asked of it. */
function world(answers: ((from: number, etag: string | undefined) => FilePart)[]) {
  const asked: [number, string | undefined][] = [];
  const waits: number[] = [];
  const stages: string[] = [];
  const it: World = {
    open: async (from, etag) => { asked.push([from, etag]); return (answers[Math.min(asked.length, answers.length) - 1] as (typeof answers)[0])(from, etag); },
    signedIn: async () => { stages.push('signed in'); },
    pause: async (ms) => { waits.push(ms); },
    now: () => 0, stage: ({ is }) => { stages.push(is); }, got: () => undefined,
  };
  return { it, asked, waits, stages };
}

const whole = (from: number): FilePart => ({ from, total: 1000, etag: '"a"', body: body(file.slice(from), false) });
const broken = (until: number) => (from: number): FilePart => ({ ...whole(from), body: body(file.slice(from, until), true) });
const refused = (status: number, after?: number) => (): FilePart => { throw new Refused(status, '', 'no', after); };
const never = new AbortController().signal;

describe('a download', () => {
  it('goes on from the byte that it reached, of the same version', async () => {
    const sink = new Memory();
    const { it: gateway, asked } = world([broken(300), broken(700), whole]);
    await transfer(gateway, sink, never);
    expect(asked).toEqual([[0, undefined], [300, '"a"'], [700, '"a"']]);
    expect(sink.bytes).toEqual([...file]);
    expect(sink.finished).toBe(true);
  });

  it('goes on after a body that ended early without an error', async () => {
    const sink = new Memory();
    const { it: gateway } = world([(from) => ({ ...whole(from), body: body(file.slice(0, 400), false) }), whole]);
    await transfer(gateway, sink, never);
    expect(sink.bytes).toEqual([...file]);
  });

  it('begins anew when the file has changed, and gives up when it always does', async () => {
    const sink = new Memory();
    const other = (): FilePart => ({ ...whole(0), etag: '"b"' });
    await transfer(world([broken(300), other]).it, sink, never);
    expect(sink.bytes).toEqual([...file]);
    const changing = (): FilePart => ({ ...broken(500)(0), from: 0 });
    await expect(transfer(world([changing]).it, new Memory(), never)).rejects.toThrow(Changing);
  });

  it('waits as long as the gateway asks, and longer each time that nothing comes', async () => {
    const { it: gateway, waits } = world([refused(503, 42_000), refused(0), refused(502), whole]);
    await transfer(gateway, new Memory(), never);
    expect(waits[0]).toBe(42_000);
    expect(waits[1]).toBeGreaterThanOrEqual(1500);
    expect(waits[2]).toBeGreaterThanOrEqual(3000);
  });

  it('waits for the viewer to sign in again', async () => {
    const sink = new Memory();
    const { it: gateway, stages } = world([broken(300), refused(401), whole]);
    await transfer(gateway, sink, never);
    expect(stages).toEqual(['starting', 'loading', 'waiting', 'signedOut', 'signed in', 'loading', 'finishing']);
    expect(sink.bytes).toEqual([...file]);
  });

  it('ends where another try cannot help', async () => {
    for (const status of [400, 403, 404]) await expect(transfer(world([broken(300), refused(status)]).it, new Memory(), never)).rejects.toThrow(Refused);
    const full = new (class extends Memory { override async write(): Promise<void> { throw new NotWritten('disk full'); } })();
    await expect(transfer(world([whole]).it, full, never)).rejects.toThrow(NotWritten);
  });

  it('ends when it is cancelled', async () => {
    const cancel = new AbortController();
    const { it: gateway, asked } = world([(from) => { cancel.abort(); return broken(300)(from); }]);
    const sink = new Memory();
    await expect(transfer(gateway, sink, cancel.signal)).rejects.toThrow();
    expect(asked).toHaveLength(1);
    expect(sink.finished).toBe(false);
  });
});

describe('the pace', () => {
  it('is that of the last seconds, and says what is left', () => {
    const pace = new Pace();
    pace.note(0, 0);
    expect(pace.rate).toBeUndefined();
    for (let second = 1; second <= 30; second++) pace.note(second * 1000, second < 15 ? 0 : (second - 14) * 2e6);
    expect(pace.rate).toBe(2e6);
    expect(pace.left(32e6, 42e6)).toBe(5000);
    pace.reset();
    expect(pace.left(0, 42e6)).toBeUndefined();
  });
});
