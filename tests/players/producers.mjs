// Players in Chromium over cameras that are not regular: jitter, fragments of many lengths, motion, missing sound.
// `node producers.mjs --minutes 15 [--play "hls.js,Shaka Player"] [--cameras jitter,motion]` prints a table.
//
// The emulator says when a motion camera recorded nothing, so that a stall is compared with the gap around it.
// `PORT` (25030) is the first of four ports.

import { parseArgs } from 'node:util';
import { launch, servePage, watch } from './browser.mjs';
import { binary, makeWorld, pause } from './world.mjs';

const CAMERAS = {
  jitter: { container: 'sdk', timing: 'jitter' },
  varied: { container: 'sdk', timing: 'varied' },
  motion: { container: 'sdk', timing: 'jitter', recording: 'motion' },
  soundless: { container: 'sdk', timing: 'jitter', sound_missing: true },
  ahead: { container: 'sdk', timing: 'jitter', clock_ahead_seconds: 86400 },
  unset: { container: 'sdk', timing: 'jitter', timecodes: 'relative_without_start' },
  ...JSON.parse(process.env.CAMERAS ?? '{}'),
};
const { values } = parseArgs({ options: { minutes: { type: 'string', default: '3' }, play: { type: 'string', default: 'hls.js,Shaka Player' }, cameras: { type: 'string', default: Object.keys(CAMERAS).join() } } });
const port = Number(process.env.PORT ?? 25030);
const length = Number(values.minutes) * 60;
const cameras = values.cameras.split(',');
/** What a stall may last longer than the gap around it: a target duration and a load of the playlist. */
const SLACK = 4;

const page = await servePage(port + 3);
const toml = (value) => (typeof value === 'string' ? `"${value}"` : value);
const producers = cameras.map((name) => `${name} = { ${Object.entries(CAMERAS[name]).map(([field, value]) => `${field} = ${toml(value)}`).join(', ')} }`);
const settings = `streams = [${cameras.map((name) => `"${name}"`).join(', ')}]\n[producers]\n${producers.join('\n')}\n`;
const world = await makeWorld({ port, origin: page.origin, settings });
const browser = await launch();
const began = Date.now();
const at = () => (Date.now() - began) / 1000;
const say = (text) => console.log(`${new Date().toISOString().slice(11, 19)} ${at().toFixed(1).padStart(7)} ${text}`);
say(`${binary}, Chromium ${browser.version()}, ${values.minutes} min`);

const viewers = [];
for (const camera of cameras) {
  for (const player of values.play.split(',')) viewers.push({ camera, player, name: `${player}, ${camera}`, told: {} });
}

/** A player begins when its camera records: before that there is nothing to play. */
async function begin(viewer) {
  for (;;) {
    const url = await world.address({ stream: viewer.camera, mode: 'LIVE', container: 'fMP4' }).catch((error) => { viewer.waits = error.message; });
    if (url) {
      viewer.opened = Date.now();
      viewer.url = url;
      Object.assign(viewer, await watch({ browser, origin: page.origin, player: viewer.player, url }));
      return;
    }
    await pause(2000);
  }
}

const lists = {};
/** Every published playlist of a camera: TARGETDURATION, and whether counts fit their tags from one to the next. */
async function poll(camera) {
  const viewer = viewers.find((one) => one.camera === camera && one.url);
  if (!viewer) return;
  for (const track of [1, 2]) {
    const answer = await fetch(viewer.url.replace('getHLSMasterPlaylist.m3u8', `getHLSMediaPlaylist.m3u8?TrackNumber=${track}`)).catch(() => undefined);
    if (!answer?.ok) continue;
    const seen = (lists[`${camera} ${track}`] ??= { targets: new Set(), most: 0, longest: 0, counts: new Map(), faults: [] });
    const text = await answer.text();
    const number = (tag) => Number(new RegExp(`#EXT-X-${tag}:(\\d+)`).exec(text)?.[1] ?? 0);
    seen.targets.add(number('TARGETDURATION'));
    let [sequence, count, listed] = [number('MEDIA-SEQUENCE'), number('DISCONTINUITY-SEQUENCE'), 0];
    for (const line of text.split('\n')) {
      if (line === '#EXT-X-DISCONTINUITY') count += 1;
      if (line.startsWith('#EXTINF:')) seen.longest = Math.max(seen.longest, Number.parseFloat(line.slice(8)));
      if (!line || line.startsWith('#')) continue;
      const before = seen.counts.get(sequence);
      const now = `${line} ${count}`;
      if (before !== undefined && before !== now && seen.faults.length < 20) seen.faults.push(`${sequence}: ${before.slice(-30)} then ${now.slice(-30)}`);
      seen.counts.set(sequence, now);
      sequence += 1;
      listed += 1;
    }
    seen.most = Math.max(seen.most, listed);
  }
}

const beginnings = viewers.map((viewer) => begin(viewer).catch((error) => say(`${viewer.name}: ${error.message}`)));
for (let said = 0; at() < length; await pause(1000)) {
  await Promise.all(cameras.map(poll));
  for (const viewer of viewers) {
    if (!viewer.look) continue;
    const seen = await viewer.look().catch(() => undefined);
    if (!seen) continue;
    viewer.seen = seen;
    for (const list of ['stalls', 'jumps', 'errors', 'fatal', 'refused']) {
      for (const one of seen[list].slice(viewer.told[list] ?? 0)) say(`${viewer.name}: ${list} ${JSON.stringify(one)} buffer ${seen.buffer}`);
      viewer.told[list] = seen[list].length;
    }
  }
  if (at() - said >= 60) {
    said = at();
    for (const { name, seen, waits } of viewers) say(seen ? `${name}: ${seen.frames} pictures, ${seen.dropped} dropped, ${seen.stalls.length} stalls, ${seen.errors.length} errors, buffer ${seen.buffer} s` : `${name}: ${waits ?? 'not begun'}`);
  }
}
void beginnings;

/** When the camera recorded nothing, in seconds of the run, by the fragments that the gateway lists. */
async function gaps(camera) {
  const [start, end] = [began / 1000 - 300, Date.now() / 1000];
  const answer = await fetch(`${world.base}/streams/${camera}/fragments?start=${start}&end=${end}`, { headers: { authorization: `Bearer ${world.token}` } });
  const { fragments = [] } = await answer.json();
  const arrived = fragments.map((one) => (Date.parse(one.server_start) + one.length_ms) / 1000).sort((a, b) => a - b);
  const found = [];
  [...arrived, end].forEach((time, n, all) => { if (n && time - all[n - 1] > 21) found.push({ from: all[n - 1] - began / 1000, to: time - began / 1000 }); });
  return found;
}

console.log('\n| Camera | Player | Played | Pictures | Dropped | Stalls, gaps apart | Longest | In gaps: stall beyond the gap | Errors | Fatal |\n|---|---|---|---|---|---|---|---|---|---|');
for (const viewer of viewers) {
  const { seen, camera } = viewer;
  if (!seen) { console.log(`| ${camera} | ${viewer.player} | not begun: ${viewer.waits ?? ''} | | | | | | | |`); continue; }
  const around = await gaps(camera);
  const offset = (viewer.opened - began) / 1000;
  const own = [];
  const beyond = [];
  if (seen.silent > 0.5) seen.stalls.push({ at: seen.now - seen.silent, seconds: seen.silent });
  for (const stall of seen.stalls) {
    const from = offset + stall.at;
    const gap = around.find((one) => from < one.to + 20 && from + stall.seconds > one.from);
    if (gap) beyond.push(Math.round(10 * (stall.seconds - (gap.to - gap.from))) / 10);
    else own.push(stall.seconds);
  }
  console.log(`| ${camera} | ${viewer.player} ${seen.version} | ${(seen.now - (seen.first ?? seen.now)).toFixed(0)} s | ${seen.frames} | ${seen.dropped} | ${own.length} | ${Math.max(0, ...own)} s | ${beyond.length ? beyond.map((one) => `${one} s`).join(', ') : 'no gap'} | ${seen.errors.length} | ${seen.fatal.length} |`);
  console.log(`<!-- ${viewer.name}: ${JSON.stringify(own.slice(0, 60))} ${JSON.stringify(seen.errors.slice(0, 5))} -->`);
  if (seen.fatal.length || beyond.some((one) => one > SLACK)) process.exitCode = 1;
}
for (const [name, { targets, most, longest, faults }] of Object.entries(lists)) console.log(`<!-- ${name}: TARGETDURATION ${[...targets].join(', ')}, longest fragment ${longest} s, at most ${most} listed, counts that changed ${JSON.stringify(faults)} -->`);
await browser.close();
await world.stop();
page.stop();
process.exit(process.exitCode ?? 0);
