// The small picture above the hand on the time line. A hand moves faster than pictures come: only the place where it
// rests is asked for, on times that other viewers would ask for as well.

import { h, say, Ends } from '../dom';
import { knowsSize, learnSize, stillSize } from '../preferences';
import type { Session } from '../session/session';
import { text } from '../text';

const REST = 110;
const KEEP = 60;
const WIDTH = 240;

/** The moment to ask for, so that neighbours share one picture: a fragment's start where it is known. */
export function snap(at: number, fragment: { start: number } | false | undefined, span: number): number {
  if (fragment && span < 3600e3 * 2) return fragment.start;
  const step = span > 86400e3 * 2 ? 60e3 : span > 3600e3 * 2 ? 10e3 : 2e3;
  return Math.floor(at / step) * step;
}

export class Thumbnails {
  private readonly image = h('img', { alt: '', hidden: true });
  private readonly words = h('span', { class: 'thumb-words' });
  private readonly time = h('span', { class: 'thumb-time' });
  readonly root = h('div', { class: 'thumb', hidden: true, 'aria-hidden': 'true' }, h('div', { class: 'thumb-picture' }, this.image, this.words), this.time);
  private readonly kept = new Map<number, string>();
  private asking: AbortController | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly session: Session;
  private readonly name: string;
  private readonly allowed: boolean;

  constructor(session: Session, name: string, allowed: boolean, ends: Ends) {
    this.session = session;
    this.name = name;
    this.allowed = allowed;
    ends.add(() => { this.hide(); for (const url of this.kept.values()) URL.revokeObjectURL(url); this.kept.clear(); });
  }

  /** Shows the picture of `at` above `x`; `what` stands in for it where there is none. */
  show(x: number, width: number, at: number, time: string, what: string | undefined): void {
    this.root.hidden = false;
    const half = this.root.offsetWidth / 2;
    this.root.style.left = `${Math.round(Math.min(Math.max(x, half), width - half))}px`;
    say(this.time, time);
    const none = what ?? (this.allowed ? undefined : text.timeline.noPicture);
    if (none !== undefined) { this.stop(); this.image.hidden = true; say(this.words, none); return; }
    const url = this.kept.get(at);
    if (url) { this.stop(); return this.put(url); }
    clearTimeout(this.timer);
    if (this.image.hidden) say(this.words, text.timeline.loading);
    this.timer = setTimeout(() => void this.ask(at), REST);
  }

  hide(): void {
    this.stop();
    this.root.hidden = true;
    this.image.hidden = true;
  }

  private stop(): void {
    clearTimeout(this.timer);
    this.asking?.abort();
  }

  private put(url: string): void {
    if (this.image.src !== url) this.image.src = url;
    this.image.hidden = false;
    say(this.words, '');
  }

  private async ask(at: number): Promise<void> {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    try {
      const picture = await this.session.api.snapshot(this.name, { at, ...stillSize(this.name, WIDTH) }, asking.signal);
      if (!knowsSize(this.name)) { const { width, height } = await createImageBitmap(picture); learnSize(this.name, width, height); }
      if (asking.signal.aborted) return;
      const url = URL.createObjectURL(picture);
      this.kept.set(at, url);
      const oldest = this.kept.size > KEEP ? this.kept.keys().next().value : undefined;
      if (oldest !== undefined) { URL.revokeObjectURL(this.kept.get(oldest) ?? ''); this.kept.delete(oldest); }
      this.put(url);
    } catch {
      if (asking.signal.aborted) return;
      this.image.hidden = true;
      say(this.words, text.timeline.noPicture);
    }
  }
}
