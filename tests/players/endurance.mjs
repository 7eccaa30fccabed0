// Players that watch for long while everything around them breaks: upstream sessions that end every minute, a camera
// that is away for 30 s, an emulator and a gateway that start again. `node endurance.mjs --minutes 60`.
//
// `--at gap=0.2,emulator=0.55,gateway=0.8` says at which share of the time what breaks.
//
// `--play "hls.js:fMP4,Shaka Player:DASH"` names who plays what. Ends with 1 unless nobody had a fatal error or stalled
// for more than 6 s, the camera's gap apart. `PORT` (25010) is the first of four ports.

import { parseArgs } from 'node:util';
import { launch, servePage, watch } from './browser.mjs';
import { binary, makeWorld, pause } from './world.mjs';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '3' }, play: { type: 'string', default: 'hls.js:fMP4,Shaka Player:DASH' }, gap: { type: 'string', default: '30' }, at: { type: 'string', default: 'gap=0.2,emulator=0.55,gateway=0.8' } } });
const port = Number(process.env.PORT ?? 25010);
const length = Number(values.minutes) * 60;
const gap = Number(values.gap);
/** A stall that people forgive, in seconds. */
const ENDURED = 6;

const page = await servePage(port + 3);
const created = Date.now() - 25 * 3_600_000;
const world = await makeWorld({ port, origin: page.origin, settings: `max_session_seconds = 60\n${process.env.OLD ? "" : `created = ${created}\n`}` });
const browser = await launch();
const began = Date.now();
const at = () => (Date.now() - began) / 1000;
const say = (text) => console.log(`${new Date().toISOString().slice(11, 19)} ${at().toFixed(1).padStart(7)} ${text}`);
say(`${binary}, Chromium ${browser.version()}, ${values.minutes} min of ${values.play}`);

const viewers = await Promise.all(values.play.split(',').map(async (one) => {
  const [player, container] = one.split(':');
  const url = await world.address({ mode: 'LIVE', container });
  const trace = process.env.TRACE ? (line) => say(`${one}: ${line}`) : undefined;
  const opened = at();
  return { name: `${player} ${container}`, opened, told: {}, ...(await watch({ browser, origin: page.origin, player, url, trace })) };
}));

/** What happened around them, with its span: a stall that overlaps with a gap is the camera's. */
const events = [];
const plan = [
  ['gap', async () => {
    const from = Date.now() / 1000;
    const event = { name: 'camera gap', from: at(), to: at() + gap };
    events.push(event);
    say(`the camera is away for ${gap} s`);
    await world.camera('cam-1', { gap: { from, to: from + gap } });
    await pause(gap * 1000);
    say('the camera is back');
  }],
  ['emulator', async () => {
    const event = { name: 'emulator restart', from: at(), to: at() };
    events.push(event);
    say('the emulator ends');
    await world.restart('emulator', 1000);
    event.to = at();
    say(`the emulator is back after ${(event.to - event.from).toFixed(1)} s`);
  }],
  ['gateway', async () => {
    const event = { name: 'gateway restart', from: at(), to: at() };
    events.push(event);
    say('the gateway ends');
    await world.restart('gateway');
    event.to = at();
    say(`the gateway is back after ${(event.to - event.from).toFixed(1)} s`);
  }],
];
const steps = values.at.split(',').filter(Boolean).map((one) => one.split('=')).map(([name, share]) => ({ at: Number(share) * length, run: plan.find((part) => part[0] === name)[1] })).sort((a, b) => a.at - b.at);

/** Tells what is new about each viewer since last time. */
async function look() {
  for (const viewer of viewers) {
    let seen;
    try { seen = await viewer.look(); } catch (error) { say(`${viewer.name}: the page does not answer: ${error.message.split('\n')[0]}`); continue; }
    viewer.seen = seen;
    for (const list of ['stalls', 'jumps', 'errors', 'fatal', 'refused']) {
      for (const one of seen[list].slice(viewer.told[list] ?? 0)) say(`${viewer.name}: ${list} ${JSON.stringify(one)} buffer ${seen.buffer}`);
      viewer.told[list] = seen[list].length;
    }
    // One that lasts at the end never became a stall in the list.
    viewer.silent = seen.silent;
  }
}

let sessions = 0;
for (let said = 0; at() < length; await pause(1000)) {
  if (steps.length && at() >= steps[0].at) steps.shift().run().catch((error) => { say(`a disturbance failed: ${error.message}`); process.exitCode = 1; });
  await look();
  if (at() - said >= 60) {
    said = at();
    sessions = await fetch(`${world.emulator}/_emulator/requests`).then((answer) => answer.text()).then((text) => text.match(/StreamingSessionURL/g)?.length ?? 0).catch(() => sessions);
    for (const { name, seen } of viewers) if (seen) say(`${name}: ${seen.frames} pictures, ${seen.dropped} dropped, ${seen.stalls.length} stalls, ${seen.errors.length} errors, buffer ${seen.buffer} s`);
  }
}
await look();
const renewals = await world.metrics('kvs_edge_session_renewals_total').catch(() => []);
say(`renewals by the last gateway: ${renewals.join(' ')}`);

const near = (viewer, stall) => events.find(({ from, to }) => viewer.opened + stall.at < to + 15 && viewer.opened + stall.at + stall.seconds > from);
console.log('\n| Player | Pictures (share of what was sent) | Dropped | Stalls over 0.5 s | Longest, the gap apart | In the gap | Errors | Fatal |\n|---|---|---|---|---|---|---|---|');
for (const viewer of viewers) {
  const { seen } = viewer;
  if (viewer.silent > 0.5) seen.stalls.push({ at: seen.now - viewer.silent, seconds: viewer.silent });
  for (const stall of seen.stalls) stall.by = near(viewer, stall)?.name ?? 'nothing known';
  const own = seen.stalls.filter((stall) => stall.by !== 'camera gap');
  const longest = Math.max(0, ...own.map((stall) => stall.seconds));
  const away = seen.stalls.filter((stall) => stall.by === 'camera gap').map((stall) => stall.seconds);
  const due = 15.625 * (at() - viewer.opened - (seen.first ?? 0) - (events.some(({ name }) => name === 'camera gap') ? gap : 0));
  if (seen.fatal.length || longest > ENDURED || !seen.frames) process.exitCode = 1;
  console.log(`| ${viewer.name} ${seen.version} | ${seen.frames} (${((100 * seen.frames) / due).toFixed(1)} %) | ${seen.dropped} | ${own.length} | ${longest} s | ${away.join(', ') || '0'} s | ${seen.errors.length} | ${seen.fatal.length} |`);
  console.log(`<!-- ${viewer.name}: ${JSON.stringify(seen.stalls.slice(0, 40))} -->`);
}
console.log(events.map(({ name, from, to }) => `${name} at ${from.toFixed(0)} s for ${(to - from).toFixed(1)} s`).join('; '));
await browser.close();
await world.stop();
page.stop();
process.exit(process.exitCode ?? 0);
