// How fast a download is and how long it takes from here on. Pure: the present comes as an argument.

/** How far back the rate looks, in ms: long enough to be steady, short enough to follow the network. */
const WINDOW = 10e3;
/** Samples are at least this far apart, in ms. */
const STEP = 250;

export class Pace {
  private samples: { at: number; bytes: number }[] = [];

  /** Notes how many bytes are there. */
  note(at: number, bytes: number): void {
    const last = this.samples.at(-1);
    if (last && at - last.at < STEP) return;
    this.samples.push({ at, bytes });
    while (this.samples.length > 2 && at - (this.samples[0]?.at ?? at) > WINDOW) this.samples.shift();
  }

  /** Forgets the rate: the time of a pause says nothing about what follows. */
  reset(): void { this.samples = []; }

  /** Bytes per second, or nothing while that would be a guess. */
  get rate(): number | undefined {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (!first || !last || last.at - first.at < 1000) return undefined;
    return ((last.bytes - first.bytes) * 1000) / (last.at - first.at);
  }

  /** Until all bytes are there, in ms, or nothing if that is not known. */
  left(bytes: number, of: number): number | undefined {
    const { rate } = this;
    return rate && of > bytes ? ((of - bytes) * 1000) / rate : undefined;
  }
}
