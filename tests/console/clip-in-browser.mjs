// A page with a <video> over a clip: it opens, jumps about and plays. Called by tests/it/clip_in_browser.rs.
//
//   node clip-in-browser.mjs URL SECONDS...
//
// Prints JSON: the duration, for each of the SECONDS where the picture after the jump belongs, and how far it
// played on from there.
import { launch } from './browser.mjs';

const [url, ...seconds] = process.argv.slice(2);

const browser = await launch();
try {
  const page = await browser.newPage();
  const seen = await page.evaluate(async ({ url, seconds }) => {
    const video = document.createElement('video');
    video.muted = true;
    video.preload = 'metadata';
    document.body.append(video);
    const once = (name) => new Promise((resolve, reject) => {
      video.addEventListener(name, resolve, { once: true });
      video.addEventListener('error', () => reject(new Error(`${name}: ${video.error?.message}`)), { once: true });
      setTimeout(() => reject(new Error(`${name} did not come within a minute`)), 60_000);
    });
    const picture = () => new Promise((resolve, reject) => {
      video.requestVideoFrameCallback((_, frame) => resolve(frame.mediaTime));
      setTimeout(() => reject(new Error('no picture within a minute')), 60_000);
    });
    // One picture of before may still be on its way.
    const pictureNear = async (to) => {
      let at = await picture();
      while (Math.abs(at - to) > 1) at = await picture();
      return at;
    };
    const loaded = once('loadedmetadata');
    video.src = url;
    await loaded;
    const jumps = [];
    for (const to of seconds) {
      const [seeked, shown] = [once('seeked'), pictureNear(to)];
      video.currentTime = to;
      await seeked;
      const at = await shown;
      await video.play();
      let last = at;
      const frames = [];
      while (last < at + 1) {
        last = await picture();
        frames.push(last);
      }
      video.pause();
      jumps.push({ to, at, frames });
    }
    return { duration: video.duration, width: video.videoWidth, jumps };
  }, { url, seconds: seconds.map(Number) });
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
