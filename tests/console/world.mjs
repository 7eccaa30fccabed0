// What an end-to-end run plays against: the stand-in gateway (default), or the real demo (`KVS_EDGE=path/to/kvs-edge`),
// or anything that runs already (`CONSOLE_URL` and `CONSOLE_TOKEN`; `CONSOLE_RESTART` is a command that restarts it).

import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { here } from './browser.mjs';

/** A port that was free a moment ago. */
export const freePort = () => new Promise((resolve, reject) => {
  const server = createServer().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)); });
  server.on('error', reject);
});

/** Starts what is asked for. `token(subject, seconds)` makes tokens; `restart()` is there if the gateway can be restarted. */
export async function makeWorld({ cameras = 0, extra = true, issuers = [] } = {}) {
  if (process.env.CONSOLE_URL) return given();
  return process.env.KVS_EDGE && cameras === 0 ? demo(process.env.KVS_EDGE, issuers) : mock({ cameras, extra, issuers });
}

function given() {
  const { CONSOLE_URL: base, CONSOLE_TOKEN: token, CONSOLE_RESTART: restart } = process.env;
  const known = { kind: 'given', base: base.replace(/\/$/, ''), token: async () => token, oneTokenOnly: true, stop: () => undefined };
  return restart ? { ...known, restart: async () => { execFileSync('sh', ['-c', restart]); await answers(base); } } : known;
}

async function mock({ cameras, extra, issuers }) {
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  let child;
  const start = async () => {
    child = spawn(process.execPath, [join(here, 'mock.mjs')], { stdio: 'inherit', env: { ...process.env, PORT: String(port), MOCK_CAMERAS: String(cameras), MOCK_EXTRA: extra ? '1' : '0', MOCK_ISSUERS: JSON.stringify(issuers) } });
    await answers(base);
  };
  await start();
  return {
    kind: 'mock', base, denied: 'vault',
    token: async (subject = 'alice', seconds = 3600) => (await fetch(`${base}/mock/token?sub=${subject}&ttl=${seconds}`)).text(),
    fault: (query) => fetch(`${base}/mock/fault?${query}`),
    silence: (name, on) => fetch(`${base}/mock/camera?name=${name}&silent=${on ? 1 : 0}`),
    forbid: (name, on) => fetch(`${base}/mock/camera?name=${name}&denied=${on ? 1 : 0}`),
    restart: async (away = 3000) => { await ended(child); await pause(away); await start(); },
    stop: () => ended(child),
  };
}

async function demo(binary, issuers) {
  const ports = [await freePort(), await freePort(), await freePort()];
  const base = `http://127.0.0.1:${ports[0]}`;
  const folder = mkdtempSync(join(tmpdir(), 'kvs-edge-console-'));
  let child;
  const start = async () => {
    const [listen, admin, emulator] = ports.map((port) => `127.0.0.1:${port}`);
    child = spawn(binary, ['demo', '--listen', listen, '--admin', admin, '--emulator', emulator, '--folder', folder, '--allow-faults'], { stdio: ['ignore', 'ignore', process.env.VERBOSE ? 'inherit' : 'ignore'] });
    await answers(base, () => existsSync(join(folder, 'vera.jwt')));
    await change('cam-2', { gap });
  };
  const change = (name, body) => fetch(`http://127.0.0.1:${ports[2]}/_emulator/streams/${name}`, { method: 'POST', body: JSON.stringify(body) });
  // The demo records without a break; the tests want to see one.
  const gap = { from: Date.now() / 1000 - 900, to: Date.now() / 1000 - 600 };
  await start();
  // An issuer that joins while the gateway runs: the file is read again when it changes.
  for (const { issuer, client_id } of issuers) {
    appendFileSync(join(folder, 'demo.toml'), `\n[[issuer]]\nissuer = "${issuer}"\nclient_id = "${client_id}"\naudience = ["kvs-edge"]\nalgorithms = ["RS256"]\njwks = "${issuer}/jwks"\nclaims = { subject = "/sub", groups = "/groups" }\n`);
    for (let tries = 0; !(await (await fetch(`${base}/console/config.json`)).text()).includes(issuer); tries++) {
      if (tries > 150) throw new Error(`the gateway did not take the issuer ${issuer}`);
      // It may not have begun to watch the file when the line was written.
      if (tries % 30 === 29) appendFileSync(join(folder, 'demo.toml'), '\n');
      await pause(100);
    }
  }
  const policies = join(folder, 'policies/demo.cedar');
  const allowed = readFileSync(policies, 'utf8');
  const groups = { alice: 'investigators', vera: 'viewers', bob: 'guards' };
  const key = ['issuer-key.pem', 'issuer.pem', 'key.pem', 'dev.pem'].map((name) => join(folder, name)).find(existsSync);
  return {
    kind: 'demo', base, denied: 'cam-3', deniedTo: 'vera', folder, emulator: `http://127.0.0.1:${ports[2]}`,
    token: async (subject = 'alice', seconds) => {
      if (seconds === undefined) return readFileSync(join(folder, `${subject}.jwt`), 'utf8').trim();
      const { kid } = JSON.parse(Buffer.from(readFileSync(join(folder, `${subject}.jwt`), 'utf8').split('.')[0], 'base64url'));
      return execFileSync(binary, ['token', '--key', key, '--kid', kid, '--issuer', 'http://127.0.0.1/demo-issuer', '--audience', 'kvs-edge', '--subject', subject, '--groups', groups[subject], '--ttl', `${seconds}s`], { encoding: 'utf8' }).trim();
    },
    silence: (name, on) => change(name, { state: on ? 'paused' : 'running' }),
    forbid: async (name, on) => writeFileSync(policies, on ? `${allowed}\nforbid (principal, action, resource) when { resource is Stream && resource.name == "${name}" };\n` : allowed),
    restart: async (away = 3000) => { await ended(child); await pause(away); await start(); },
    stop: async () => { await ended(child); rmSync(folder, { recursive: true, force: true }); },
  };
}

async function answers(base, also = () => true) {
  for (let tries = 0; tries < 300; tries++) {
    try { if ((await fetch(`${base}/console/config.json`)).ok && also()) return; } catch { /* not yet */ }
    await pause(100);
  }
  throw new Error(`${base} does not answer`);
}

function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  const gone = new Promise((resolve) => { child.once('exit', resolve); });
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), 8000);
  return gone.finally(() => clearTimeout(hard));
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
