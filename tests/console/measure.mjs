// How fast the console is, in figures for docs/CONSOLE.md: `KVS_EDGE=target/perf/kvs-edge node measure.mjs [rounds]`.
// First live picture beside hls.js alone on the same playlists in the same run, and what sixteen tiles leave of a page.
// Against the real demo, in Debian's Chromium without a graphics card: decoding is on the processor, too.

import { cpus } from 'node:os';
import { launch } from './browser.mjs';
import { alone, openPage, signIn, until } from './page.mjs';
import { makeWorld } from './world.mjs';

const rounds = Number(process.argv[2] ?? 10);
const [HEADER, COOKIE] = ['access-token', 'access'];
const sorted = (list) => [...list].sort((a, b) => a - b);
const median = (list) => sorted(list)[list.length >> 1];
const tell = (name, list) => console.log(`${name.padEnd(58)} ${String(Math.round(median(list))).padStart(5)} ms   (${Math.round(Math.min(...list))} to ${Math.round(Math.max(...list))}, n=${list.length})`);

const world = await makeWorld();
const browser = await launch();
console.log(`# Chromium ${browser.version()}, ${cpus().length} processors, ${process.env.KVS_EDGE}`);
await world.proxy(HEADER, COOKIE);
const token = await world.token();

// The gateway is warm: its sessions are open, as they are while anybody watches.
const page = await openPage(browser, world);
await signIn(page, world, token);
await until(page, 'three tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 3);
const names = ['cam-1', 'cam-2', 'cam-3'];

const leave = async () => {
  await page.evaluate(() => { location.hash = '#/camera/none'; });
  await page.waitForFunction(() => document.querySelector('video') === null);
};
const pictures = (what) => what.waitForFunction((names) => {
  const marks = names.map((name) => performance.getEntriesByName(`first-picture:${name}`)[0]?.startTime);
  return marks.every((mark) => mark !== undefined) && marks.map((mark) => mark - (window.opened ?? 0));
}, names, { polling: 20 }).then((found) => found.jsonValue());

const [single, three, wallFirst, wallAll, pageFirst, pageAll, pageStill] = Array.from({ length: 7 }, () => []);
for (let n = 0; n < rounds; n++) {
  await leave();
  single.push(await page.evaluate(alone, [token, names[n % 3]]));
  three.push(Math.max(...await Promise.all(names.map((name) => page.evaluate(alone, [token, name])))));
  await page.evaluate(() => { performance.clearMarks(); window.opened = performance.now(); location.hash = '#/'; });
  const after = await pictures(page);
  wallFirst.push(Math.min(...after));
  wallAll.push(Math.max(...after));
  // Somebody opens the address: nothing of the page is in this browser yet, an access proxy has signed him in.
  const fresh = await openPage(browser, world);
  await fresh.context().addCookies([{ name: COOKIE, value: token, url: world.base }]);
  await leave();
  await fresh.goto(world.base);
  const all = await pictures(fresh);
  pageFirst.push(Math.min(...all));
  pageAll.push(Math.max(...all));
  pageStill.push(await fresh.evaluate(() => Math.min(...performance.getEntriesByType('resource').filter((entry) => entry.name.includes('snapshot.jpg')).map((entry) => entry.responseEnd))));
  await fresh.context().close();
}
tell('hls.js alone, one stream', single);
tell('hls.js alone, three streams at once, the last', three);
tell('wall opened, first live picture', wallFirst);
tell('wall opened, all three live', wallAll);
tell('address opened in an empty browser, first still', pageStill);
tell('address opened in an empty browser, first live picture', pageFirst);
tell('address opened in an empty browser, all three live', pageAll);
const ratio = (a, b) => (median(a) / median(b)).toFixed(2);
console.log(`ratio of the wall's first picture to hls.js alone: ${ratio(wallFirst, single)}; of all three to three of hls.js at once: ${ratio(wallAll, three)}; of the opened address to hls.js alone: ${ratio(pageFirst, single)}`);
await page.context().close();
await world.stop();

const crowd = await makeWorld({ cameras: 16, extra: false });
const wall = await openPage(browser, crowd);
await wall.addInitScript(() => localStorage.setItem('kvs-edge.preferences', '{"tiles":16}'));
await wall.addInitScript(() => {
  window.seen = { long: [], events: [] };
  new PerformanceObserver((list) => window.seen.long.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask' });
  new PerformanceObserver((list) => window.seen.events.push(...list.getEntries().map((entry) => ({ name: entry.name, ms: entry.duration, wait: entry.processingStart - entry.startTime })))).observe({ type: 'event', durationThreshold: 16 });
});
await signIn(wall, crowd, await crowd.token());
await until(wall, 'sixteen tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length === 16, undefined, 120_000);
const opening = await wall.evaluate(() => ({ long: window.seen.long, first: performance.getEntriesByType('mark').filter((mark) => mark.name.startsWith('first-picture:')).map((mark) => mark.startTime) }));
await wall.waitForTimeout(5000);
const SECONDS = 20;
const watching = wall.evaluate(async (ms) => {
  window.seen.long.length = 0;
  const videos = [...document.querySelectorAll('video')];
  const count = () => videos.map((video) => video.getVideoPlaybackQuality()).reduce((sum, quality) => [sum[0] + quality.totalVideoFrames, sum[1] + quality.droppedVideoFrames], [0, 0]);
  const [before, gaps] = [count(), []];
  let last = performance.now();
  const end = last + ms;
  while (last < end) { await new Promise(requestAnimationFrame); const now = performance.now(); gaps.push(now - last); last = now; }
  const after = count();
  return { gaps, long: window.seen.long, frames: after[0] - before[0], dropped: after[1] - before[1] };
}, SECONDS * 1000);
// Meanwhile somebody opens and closes the settings.
for (let n = 0; n < SECONDS * 2 - 4; n++) { await wall.getByRole('button', { name: /Settings/ }).click(); await wall.waitForTimeout(450); }
const seen = await watching;
const events = await wall.evaluate(() => window.seen.events.filter((event) => /^(click|pointerdown|pointerup)$/.test(event.name)));
const gaps = sorted(seen.gaps);
console.log(`sixteen tiles, opening: ${opening.long.length} long tasks, longest ${Math.round(Math.max(0, ...opening.long))} ms`);
console.log(`sixteen tiles, ${SECONDS} s: ${(seen.frames / SECONDS).toFixed(0)} frames/s decoded, ${seen.dropped} of ${seen.frames} dropped (${((100 * seen.dropped) / seen.frames).toFixed(1)} %)`);
console.log(`  between animation frames: median ${gaps[gaps.length >> 1].toFixed(0)}, p99 ${gaps[Math.floor(gaps.length * 0.99)].toFixed(0)}, worst ${gaps.at(-1).toFixed(0)} ms; ${seen.long.length} long tasks, longest ${Math.round(Math.max(0, ...seen.long))} ms, ${Math.round(seen.long.reduce((sum, ms) => sum + ms, 0) / SECONDS)} ms in a second`);
if (events.length) console.log(`  from click to picture: median ${median(events.map((event) => event.ms))}, worst ${Math.max(...events.map((event) => event.ms))} ms; until the page took it: median ${median(events.map((event) => event.wait)).toFixed(1)}, worst ${Math.max(...events.map((event) => event.wait)).toFixed(0)} ms (n=${events.length})`);
await browser.close();
await crowd.stop();
process.exit(0);
