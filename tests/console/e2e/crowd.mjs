// Sixteen tiles on a small machine: does the page stay awake?

import { openPage, signIn, until } from '../page.mjs';
import { makeWorld } from '../world.mjs';

export const tests = [{
  name: 'crowd: sixteen tiles play and the page answers',
  needs: (world) => world.kind !== 'given',
  async run({ browser, say }) {
    const world = await makeWorld({ cameras: 16, extra: false });
    try {
      const page = await openPage(browser, world);
      await page.addInitScript(() => localStorage.setItem('kvs-edge.preferences', '{"tiles":16}'));
      await signIn(page, world, await world.token());
      await until(page, 'sixteen tiles show pictures', () => document.querySelectorAll('.tile[data-first-picture-ms]').length === 16, undefined, 120_000);
      const report = await page.evaluate(async () => {
        const gaps = [];
        const long = [];
        new PerformanceObserver((list) => long.push(...list.getEntries().map((entry) => entry.duration))).observe({ entryTypes: ['longtask'] });
        const videos = [...document.querySelectorAll('video')];
        const count = () => videos.map((video) => video.getVideoPlaybackQuality()).reduce((sum, quality) => [sum[0] + quality.totalVideoFrames, sum[1] + quality.droppedVideoFrames], [0, 0]);
        const before = count();
        let last = performance.now();
        const end = last + 8000;
        while (last < end) { await new Promise(requestAnimationFrame); const now = performance.now(); gaps.push(now - last); last = now; }
        const after = count();
        gaps.sort((a, b) => a - b);
        return { worst: gaps.at(-1), p99: gaps[Math.floor(gaps.length * 0.99)], long: long.length, longest: Math.max(0, ...long), frames: after[0] - before[0], dropped: after[1] - before[1], states: [...document.querySelectorAll('.tile')].map((tile) => tile.dataset.state) };
      });
      const tally = [...new Set(report.states)].map((state) => `${report.states.filter((one) => one === state).length} ${state}`).join(', ');
      say(`sixteen tiles: ${tally}; ${(report.frames / 8).toFixed(0)} frames/s decoded, ${report.dropped} of ${report.frames} dropped; between animation frames p99 ${report.p99.toFixed(0)} ms, worst ${report.worst.toFixed(0)} ms; ${report.long} long tasks, longest ${report.longest.toFixed(0)} ms`);
      const [found, other] = world.kind === 'demo' ? ['cam-13', 'cam-4'] : ['cam-03', 'cam-04'];
      await page.locator('.search-field').fill(found);
      await page.locator(`.tile[data-stream="${other}"]`).waitFor({ state: 'detached' });
    } finally { await world.stop(); }
  },
}];
