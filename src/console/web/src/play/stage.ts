// Where a picture is: the video, above it a still that bridges the time until the video moves, and the last frame while
// one playback is exchanged for the next, so that the screen never goes black in between.

import { h } from '../dom';

export class Stage {
  readonly video = h('video', { muted: true, playsinline: true, tabindex: '-1', disablepictureinpicture: true });
  private readonly canvas = h('canvas', { class: 'freeze', hidden: true, 'aria-hidden': 'true' });
  private readonly still = h('img', { class: 'still', alt: '', hidden: true });
  readonly root = h('div', { class: 'stage' }, this.video, this.still, this.canvas);
  private url = '';
  private turn = 0;

  /** Shows a still in place of the video. */
  poster(picture: Blob): void {
    const old = this.url;
    this.url = URL.createObjectURL(picture);
    this.still.src = this.url;
    this.still.hidden = false;
    this.canvas.hidden = true;
    if (old) URL.revokeObjectURL(old);
  }

  /** Keeps what is on the screen while the video is taken away. */
  freeze(): void {
    const { video, canvas } = this;
    if (video.readyState < 2 || video.videoWidth === 0 || !canvas.hidden || !this.still.hidden) return;
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext('2d')?.drawImage(video, 0, 0);
    canvas.hidden = false;
  }

  /** Calls back when the video next shows a frame, having taken away what covered it. */
  onFrame(then: () => void): void {
    const turn = ++this.turn;
    const shown = () => {
      if (turn !== this.turn) return;
      this.canvas.hidden = true;
      this.still.hidden = true;
      then();
    };
    if ('requestVideoFrameCallback' in this.video) this.video.requestVideoFrameCallback(shown);
    else (this.video as HTMLVideoElement).addEventListener('timeupdate', shown, { once: true });
  }

  /** What is shown now, as a picture file. */
  async picture(): Promise<Blob | null> {
    const canvas = h('canvas');
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    canvas.getContext('2d')?.drawImage(this.video, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.92));
  }

  close(): void {
    this.turn += 1;
    if (this.url) URL.revokeObjectURL(this.url);
    this.canvas.width = 0;
    this.root.remove();
  }
}
