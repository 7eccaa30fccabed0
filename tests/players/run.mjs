// The table of docs/PLAYERS.md: every player, mode and container, each cell by a run. `node run.mjs [word…] [--write]`
// runs the cells that hold every word ("hls.js", "LIVE_REPLAY", "TS"); --write puts the table into docs/PLAYERS.md.
// `SECONDS` (15) is how long a cell plays, `PORT` (25000) the first of four ports, `TRACE=1` tells everything.

import { readFileSync, writeFileSync } from 'node:fs';
import { launch, servePage, watch } from './browser.mjs';
import { nativePlayers, nativeVersion, playNative } from './native.mjs';
import { binary, makeWorld, pause } from './world.mjs';

const seconds = Number(process.env.SECONDS ?? 15);
const port = Number(process.env.PORT ?? 25000);
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const modes = ['LIVE', 'LIVE_REPLAY', 'ON_DEMAND'];
const speaks = { 'hls.js': ['fMP4', 'TS'], 'dash.js': ['DASH'] };
const inBrowser = ['hls.js', 'Shaka Player', 'dash.js', 'video.js'];
/** Pictures per second that the emulator's cameras send. */
const RATE = 15.625;

const cells = [...inBrowser, ...nativePlayers].flatMap((player) => (speaks[player] ?? ['fMP4', 'TS', 'DASH']).flatMap((container) => modes.map((mode) => ({ player, container, mode }))))
  .filter((cell) => words.every((word) => Object.values(cell).includes(word)));

const page = await servePage(port + 3);
const world = await makeWorld({ port, origin: page.origin });
const browser = await launch();
const versions = {};
console.log(`# ${binary}, Chromium ${browser.version()}, ${seconds} s a cell`);

async function play(cell) {
  const url = await world.address(cell);
  const trace = process.env.TRACE ? (line) => console.log(`# ${cell.player} ${cell.mode} ${cell.container}: ${line}`) : undefined;
  if (!inBrowser.includes(cell.player)) {
    versions[cell.player] ??= await nativeVersion(cell.player);
    return playNative({ name: cell.player, url, seconds, trace });
  }
  const page_ = await watch({ browser, origin: page.origin, player: cell.player, url, trace });
  for (const end = Date.now() + 10_000; Date.now() < end && (await page_.look()).first === null;) await pause(200);
  await pause(seconds * 1000);
  const seen = await page_.close();
  versions[cell.player] = seen.version;
  if (seen.silent > 0.5) seen.stalls.push({ at: seen.now - seen.silent, seconds: seen.silent });
  return seen;
}

/** Good is: pictures for the time it played, no fatal error, nothing that a person would notice but one short stall. */
function judge(cell) {
  const { seen } = cell;
  const due = RATE * Math.min(seconds, (seen.now ?? 0) - (seen.first ?? 0));
  const whole = seen.fatal.length === 0 && seen.frames > 0 && seen.frames >= 0.6 * due;
  cell.good = whole && seen.frames >= 0.85 * due && seen.stalls.reduce((sum, stall) => sum + stall.seconds, 0) <= 1;
  cell.word = cell.good ? 'plays' : whole ? 'stutters' : '**fails**';
}

const waiting = [...cells];
await Promise.all([0, 1].map(async () => {
  for (let cell; (cell = waiting.shift());) {
    try { cell.seen = await play(cell); } catch (error) { cell.seen = { frames: 0, stalls: [], jumps: [], errors: [], fatal: [{ at: 0, text: error.message }] }; }
    judge(cell);
    const { frames, first, stalls, jumps, errors, fatal, dropped, refused = [] } = cell.seen;
    console.log(`${cell.word}: ${cell.player} ${cell.mode} ${cell.container}: ${frames} pictures${dropped ? ` (${dropped} dropped)` : ''}, first after ${first?.toFixed?.(1)} s, stalls ${JSON.stringify(stalls)}, jumps ${JSON.stringify(jumps)}`);
    for (const error of [...fatal, ...errors, ...refused].slice(0, 6)) console.log(`    ${error.at} ${error.text}`);
  }
}));
await browser.close();
await world.stop();
page.stop();

const word = ({ word: said, seen }) => {
  const long = seen.stalls.length ? `${seen.stalls.length} × ${Math.max(...seen.stalls.map((stall) => stall.seconds))} s` : '0';
  return `${said}: ${seen.frames} / ${long} / ${seen.errors.length + seen.fatal.length}`;
};
const rows = [...new Set(cells.map((cell) => `${cell.player}|${cell.container}`))].map((row) => {
  const [player, container] = row.split('|');
  const cell = (mode) => cells.find((one) => one.player === player && one.container === container && one.mode === mode);
  return `| ${player} ${(versions[player] ?? '').replace(/^v|-.*/g, '')} | ${container === 'DASH' ? 'DASH, fMP4' : `HLS, ${container}`} | ${modes.map((mode) => (cell(mode) ? word(cell(mode)) : '')).join(' | ')} |`;
});
const table = ['| Player | Container | LIVE | LIVE_REPLAY | ON_DEMAND |', '|---|---|---|---|---|', ...rows, '| Safari, AVPlayer | HLS, fMP4 and TS | untested | untested | untested |'].join('\n');
console.log(`\n${table}`);
if (process.argv.includes('--write')) {
  const path = new URL('../../docs/PLAYERS.md', import.meta.url);
  writeFileSync(path, readFileSync(path, 'utf8').replace(/(<!-- table -->\n)[^]*?(\n<!-- end of table -->)/, (_, before, after) => before + table + after));
}
process.exit(cells.every((cell) => cell.good) ? 0 : 1);
