// An emulator and a gateway, each a process of its own so that each can be restarted, and tokens and playback URLs from them.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** The binary under test: `KVS_EDGE`, or the measured profile's, or the development build. */
export const binary = [process.env.KVS_EDGE, join(root, 'target/perf/kvs-edge'), join(root, 'target/release/kvs-edge'), join(root, 'target/debug/kvs-edge')].find((path) => path && existsSync(path));

/**
 * Starts both on `port` (gateway), `port + 1` (admin) and `port + 2` (emulator). `settings` is TOML for the emulator;
 * `origin` is a page that may call across origins.
 */
export async function makeWorld({ port, settings = '', origin, environment = {} }) {
  if (!binary) throw new Error('no kvs-edge: build one, or name it by KVS_EDGE');
  const folder = mkdtempSync(join(tmpdir(), 'kvs-edge-players-'));
  const base = `http://127.0.0.1:${port}`;
  const admin = `http://127.0.0.1:${port + 1}`;
  const emulator = `http://127.0.0.1:${port + 2}`;
  const log = openSync(join(folder, 'log'), 'a');
  const run = (args, env = {}, program = binary) => spawn(program, args, { stdio: ['ignore', log, log], env: { ...process.env, ...env } });

  // The demo makes keys, tokens, policies and a configuration; then it has done its part.
  const demo = run(['demo', '--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${port + 1}`, '--emulator', `127.0.0.1:${port + 2}`, '--folder', folder]);
  await until(() => existsSync(join(folder, 'env.sh')), 'the demo does not start');
  await ended(demo);

  writeFileSync(join(folder, 'emulator.toml'), settings);
  const env = {
    KVS_EDGE__SERVER__LISTEN: `"127.0.0.1:${port}"`, KVS_EDGE__SERVER__PUBLIC_URL: `"${base}"`, KVS_EDGE__ADMIN__LISTEN: `"127.0.0.1:${port + 1}"`,
    // As in operations: what a restart needs is kept. `NO_STATE=1` plays without.
    ...(!process.env.NO_STATE && { KVS_EDGE__SESSIONS__STATE: `"${folder}/sessions.json"` }),
    KVS_EDGE__AWS__0__ENDPOINT_URL: `"${emulator}"`, ...(origin && { KVS_EDGE__SERVER__CORS_ORIGINS: `["${origin}"]` }), ...environment,
  };
  const parts = {
    emulator: { start: () => run(['emulate', '--listen', `127.0.0.1:${port + 2}`, '--config', join(folder, 'emulator.toml'), '--allow-faults'], {}, process.env.EMULATOR ?? binary), up: () => fetch(`${emulator}/_emulator/health`) },
    gateway: { start: () => run(['serve', '--config', join(folder, 'demo.toml')], env), up: () => fetch(`${admin}/readyz`) },
  };
  const children = {};
  const start = async (name) => {
    children[name] = parts[name].start();
    await until(async () => (await parts[name].up()).ok, `${name} does not start; see ${folder}/log`);
  };
  await start('emulator');
  await start('gateway');
  const token = readFileSync(join(folder, 'alice.jwt'), 'utf8').trim();

  return {
    base, admin, emulator, folder, token,
    /** Kills one of the two, waits, starts it again. */
    restart: async (name, away = 0) => { await ended(children[name]); await pause(away); await start(name); },
    camera: (name, change) => fetch(`${emulator}/_emulator/streams/${name}`, { method: 'POST', body: JSON.stringify(change) }),
    /** `{http, sessions, …}`: what the gateway's counters of a name say, labels and all. */
    metrics: async (word) => (await (await fetch(`${admin}/metrics`)).text()).split('\n').filter((line) => line.startsWith(word) && !line.endsWith(' 0')),
    address: (what) => address(base, token, what),
    stop: async () => { await Promise.all(Object.values(children).map(ended)); if (!process.env.KEEP) rmSync(folder, { recursive: true, force: true }); },
  };
}

/**
 * A playback URL: `container` is `fMP4`, `TS` or `DASH`; replay begins a minute ago, on demand shows 90 s that are over.
 * Times and discontinuities are as `/streams/{name}/live.m3u8` asks for them, `DISCONTINUITY=ALWAYS` is KVS's default.
 */
async function address(base, token, { stream = 'cam-1', mode, container }) {
  const dash = container === 'DASH';
  const now = Math.floor(Date.now() / 1000);
  const range = { LIVE: undefined, LIVE_REPLAY: { StartTimestamp: now - 60 }, ON_DEMAND: { StartTimestamp: now - 120, EndTimestamp: now - 30 } }[mode];
  const selector = range && { FragmentSelectorType: 'SERVER_TIMESTAMP', TimestampRange: range };
  const body = dash
    ? { StreamName: stream, PlaybackMode: mode, Expires: 43200, ...(selector && { DASHFragmentSelector: selector }) }
    : { StreamName: stream, PlaybackMode: mode, Expires: 43200, DisplayFragmentTimestamp: 'ALWAYS', DiscontinuityMode: process.env.DISCONTINUITY ?? 'ON_DISCONTINUITY', ContainerFormat: container === 'TS' ? 'MPEG_TS' : 'FRAGMENTED_MP4', ...(selector && { HLSFragmentSelector: selector }) };
  const call = dash ? 'getDASHStreamingSessionURL' : 'getHLSStreamingSessionURL';
  const answer = await fetch(`${base}/${call}`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(`${call} ${mode} ${container}: ${answer.status} ${JSON.stringify(said)}`);
  return said[dash ? 'DASHStreamingSessionURL' : 'HLSStreamingSessionURL'];
}

export async function until(holds, otherwise, seconds = 40) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(50)) {
    try { if (await holds()) return; } catch { /* not yet */ }
  }
  throw new Error(otherwise);
}

export function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  const gone = new Promise((resolve) => { child.once('exit', resolve); });
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), 8000);
  return gone.finally(() => clearTimeout(hard));
}

export const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
