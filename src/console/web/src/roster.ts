// The list of cameras as far as the page needs it: the first page at once, the rest when somebody looks further.

import { sorted, type Api, type Stream } from './api';

type Pages = Pick<Api, 'streamPage'>;

/** Cameras of one user. What is known grows by pages, each sorted behind the ones before, so that tiles keep their places. */
export class Roster {
  streams: readonly Stream[] | undefined;
  /** All cameras are known. */
  complete = false;
  private next: string | undefined;
  private pages = 0;
  private reading: Promise<void> | undefined;

  /** Reads until `enough`, or the end. `grew` is called after each page. One reading at a time: a second call joins it. */
  async read(api: Pages, enough: () => boolean, grew: () => void, signal: AbortSignal): Promise<void> {
    while (!this.complete && !(this.streams && enough())) {
      this.reading ??= this.more(api, grew, signal).finally(() => { this.reading = undefined; });
      await this.reading;
    }
  }

  /** Reads again as many pages as are known. Tells whether anything changed. */
  async refresh(api: Pages, signal: AbortSignal): Promise<boolean> {
    await this.reading;
    const streams: Stream[] = [];
    let next: string | undefined;
    for (let nth = 0; nth < Math.max(1, this.pages); nth++) {
      const page = await api.streamPage(next, signal);
      streams.push(...sorted(page.streams));
      next = page.next;
      if (!next) break;
    }
    const same = JSON.stringify(streams) === JSON.stringify(this.streams) && this.complete === !next;
    this.streams = streams;
    this.next = next;
    this.complete = !next;
    this.pages ||= 1;
    return !same;
  }

  private async more(api: Pages, grew: () => void, signal: AbortSignal): Promise<void> {
    const page = await api.streamPage(this.next, signal);
    this.streams = [...(this.streams ?? []), ...sorted(page.streams)];
    this.pages += 1;
    this.next = page.next;
    this.complete = !page.next;
    grew();
  }
}

/** The cameras that match every word of a query, in any order. */
export function matching<T extends { readonly name: string }>(streams: readonly T[], query: string): T[] {
  const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
  return streams.filter(({ name }) => wanted.every((word) => name.toLowerCase().includes(word)));
}
