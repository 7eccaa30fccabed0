// What an end-to-end run plays against: the stand-in gateway (default), or the real demo (`KVS_EDGE=path/to/kvs-edge`),
// or anything that runs already (`CONSOLE_URL` and `CONSOLE_TOKEN`; `CONSOLE_RESTART` is a command that restarts it).
// With `PAGE=source` the demo's page comes from its source by Vite, without a build.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { here } from './browser.mjs';

/** A port that was free a moment ago. */
export const freePort = () => new Promise((resolve, reject) => {
  const server = createServer().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)); });
  server.on('error', reject);
});

/** Starts what is asked for. `token(subject, seconds)` makes tokens; `restart(meanwhile)` is there if the gateway can be restarted. */
export async function makeWorld({ cameras = 0, extra = true, issuers = [] } = {}) {
  if (process.env.CONSOLE_URL) return given();
  return process.env.KVS_EDGE ? demo(process.env.KVS_EDGE, { cameras, issuers }) : mock({ cameras, extra, issuers });
}

function given() {
  const { CONSOLE_URL: base, CONSOLE_TOKEN: token, CONSOLE_RESTART: restart } = process.env;
  const known = { kind: 'given', base: base.replace(/\/$/, ''), token: async () => token, oneTokenOnly: true, stop: () => undefined };
  return restart ? { ...known, restart: async (meanwhile) => { execFileSync('sh', ['-c', restart]); await meanwhile(); await answers(base); } } : known;
}

async function mock({ cameras, extra, issuers }) {
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  let child;
  const start = async () => {
    child = run(process.execPath, [join(here, 'mock.mjs')], { PORT: String(port), MOCK_CAMERAS: String(cameras), MOCK_EXTRA: extra ? '1' : '0', MOCK_ISSUERS: JSON.stringify(issuers) });
    await answers(base, child);
  };
  await start();
  return {
    kind: 'mock', base, denied: 'vault', camera: 'dock-north',
    token: async (subject = 'alice', seconds = 3600) => (await fetch(`${base}/mock/token?sub=${subject}&ttl=${seconds}`)).text(),
    proxy: async () => undefined,
    fault: (query) => fetch(`${base}/mock/fault?${query}`),
    silence: (name, on) => fetch(`${base}/mock/camera?name=${name}&silent=${on ? 1 : 0}`),
    forbid: (name, on) => fetch(`${base}/mock/camera?name=${name}&denied=${on ? 1 : 0}`),
    restart: async (meanwhile) => { await ended(child); try { await meanwhile(); } finally { await start(); } },
    stop: () => ended(child),
  };
}

async function demo(binary, { cameras, issuers }) {
  const ports = [await freePort(), await freePort(), await freePort()];
  const base = `http://127.0.0.1:${ports[0]}`;
  const emulator = `http://127.0.0.1:${ports[2]}/_emulator`;
  const folder = mkdtempSync(join(tmpdir(), 'kvs-edge-console-'));
  folders.add(folder);
  const [settings, policies] = [join(folder, 'demo.toml'), join(folder, 'policies/demo.cedar')];
  let child;
  const others = [];
  const start = async () => {
    const [listen, admin, kvs] = ports.map((port) => `127.0.0.1:${port}`);
    child = run(binary, ['demo', '--listen', listen, '--admin', admin, '--emulator', kvs, '--folder', folder, '--allow-faults']);
    // The script is the last thing that the demo writes before it is ready: it has made and played everything else by then.
    await answers(base, child, () => existsSync(join(folder, 'clip.py')));
    await change('cam-2', { gap });
    // Its H.265 plays in no Chromium without a decoder for it. Tests that need such a camera have their own.
    await change('cam-3', { producer: { video: 'h264' } });
    // A name that is not there yet becomes a camera when it is told to run: cam-4 and on.
    for (let n = 4; n <= cameras; n++) await add(`cam-${n}`);
  };
  const post = async (path, body) => {
    const answer = await fetch(`${emulator}/${path}`, { method: 'POST', body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  };
  const change = (name, body) => post(`streams/${name}`, body);
  const add = (name) => change(name, { state: 'running' });
  /** Waits until the gateway lists a camera: it keeps KVS's list for a moment. */
  const listed = async (name) => {
    const authorization = `Bearer ${await token()}`;
    for (let tries = 0; ; tries++) {
      const { streams } = await (await fetch(`${base}/streams`, { headers: { authorization } })).json();
      if (streams.some((stream) => stream.name === name)) return;
      if (tries > 600) throw new Error(`${name} is not listed`);
      await pause(100);
    }
  };
  // The demo records without a break; the tests want to see one.
  const gap = { from: Date.now() / 1000 - 900, to: Date.now() / 1000 - 600 };
  await start();
  const page = process.env.PAGE === 'source' ? await fromSource(base) : base;
  const original = readFileSync(settings, 'utf8');
  let added = '';
  // The file is read again when it changes, but the gateway may not have begun to watch it when it was written: once more, then.
  const configure = async (lines, taken) => {
    if (!added.includes(lines)) added += `\n${lines}\n`;
    for (let tries = 0; !(await taken()); tries++) {
      if (tries > 300) throw new Error(`the gateway did not take\n${lines}`);
      if (tries % 30 === 0) writeFileSync(settings, `${original}${added}${'\n'.repeat(tries / 30)}`);
      await pause(100);
    }
  };
  for (const { issuer, client_id, toml, listed = true } of issuers) {
    let written = 0;
    await configure(`[[issuer]]\n${toml ?? `issuer = "${issuer}"\nclient_id = "${client_id}"\naudience = ["kvs-edge"]\nalgorithms = ["RS256"]\njwks = "${issuer}/jwks"\nclaims = { subject = "/sub", groups = "/groups" }`}`,
      async () => (listed ? (await (await fetch(`${base}/console/config.json`)).text()).includes(issuer) : written++ > 0));
  }
  const allowed = readFileSync(policies, 'utf8');
  const groups = { alice: 'investigators', vera: 'viewers', bob: 'guards' };
  const key = ['issuer-key.pem', 'issuer.pem', 'key.pem', 'dev.pem'].map((name) => join(folder, name)).find(existsSync);
  const token = async (subject = 'alice', seconds) => {
    const lasting = readFileSync(join(folder, `${subject}.jwt`), 'utf8').trim();
    if (seconds === undefined) return lasting;
    const { kid } = JSON.parse(Buffer.from(lasting.split('.')[0], 'base64url'));
    return execFileSync(binary, ['token', '--key', key, `--kid=${kid}`, '--issuer', 'http://127.0.0.1/demo-issuer', '--audience', 'kvs-edge', '--subject', subject, '--groups', groups[subject], '--ttl', `${seconds}s`], { encoding: 'utf8' }).trim();
  };
  const may = async (who, name) => (await fetch(`${base}/streams/${name}`, { headers: { authorization: `Bearer ${await token(who)}` } })).ok;
  return {
    kind: 'demo', base: page, denied: 'cam-3', deniedTo: 'vera', camera: 'cam-1', folder, token,
    /** More cameras, listed. */
    add: async (...names) => { for (const name of names) await add(name); for (const name of names) await listed(name); },
    /** From now on `header` and `cookie` carry tokens, as an access proxy sends them. */
    proxy: async (header, cookie) => configure(`[identity]\nheaders = ["${header}"]\ncookie = "${cookie}"`,
      async () => (await fetch(`${base}/console/me`, { headers: { [header]: await token() } })).ok),
    /** Adds a rule to the emulator's plan of faults, or takes all back. */
    plan: (rule) => (rule ? post('faults', rule) : fetch(`${emulator}/faults`, { method: 'DELETE' })),
    silence: (name, on) => change(name, { state: on ? 'paused' : 'running' }),
    forbid: async (name, on) => {
      writeFileSync(policies, on ? `${allowed}\nforbid (principal, action, resource) when { resource is Stream && resource.name == "${name}" };\n` : allowed);
      await until(async () => (await may('alice', name)) !== on);
    },
    /** More settings, in force when this returns: they name `word`, and the page is told it. */
    configured: (lines, word) => configure(lines, async () => !!(await (await fetch(`${base}/console/config.json`)).json())[word]),
    /** Another gateway on the same settings that clients reach by `publicUrl`, or over TLS with a certificate of its own; hands back its own address. */
    serve: async (publicUrl, tls = false) => {
      const [listen, admin] = [await freePort(), await freePort()];
      const own = `${tls ? 'https' : 'http'}://127.0.0.1:${listen}`;
      const [certificate, key] = ['tls.crt', 'tls.key'].map((name) => join(folder, name));
      if (tls) execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
      const settings = { SERVER__LISTEN: `"127.0.0.1:${listen}"`, SERVER__PUBLIC_URL: `"${publicUrl ?? own}"`, ADMIN__LISTEN: `"127.0.0.1:${admin}"`, AWS__0__ENDPOINT_URL: `"http://127.0.0.1:${ports[2]}"`, LOG__AUDIT: '"stdout"', ...(tls && { SERVER__TLS__CERTIFICATE: `"${certificate}"`, SERVER__TLS__KEY: `"${key}"` }) };
      const gateway = run(binary, ['serve', '--config', join(folder, 'demo.toml')], Object.fromEntries(Object.entries(settings).map(([name, value]) => [`KVS_EDGE__${name}`, value])));
      others.push(gateway);
      // Its certificate is nobody's; that it answers is seen at the operators' address.
      await answers(own, gateway, () => true, tls ? `http://127.0.0.1:${admin}/readyz` : undefined);
      return own;
    },
    /** One more policy, in force when the gateway has read it. */
    permit: (policy) => writeFileSync(policies, `${allowed}\n${policy}\n`),
    /** Policies for a while, in place of the demo's. */
    policies: (text) => writeFileSync(policies, text),
    /** The demo's own again, in force when this returns. */
    ownPolicies: async () => { writeFileSync(policies, allowed); await until(() => may('alice', 'cam-1')); },
    restart: async (meanwhile) => { await ended(child); try { await meanwhile(); } finally { await start(); } },
    stop: async () => { await Promise.all(others.map(ended)); await ended(child); rmSync(folder, { recursive: true, force: true }); },
  };
}

async function until(condition) {
  for (let tries = 0; !(await condition()); tries++) {
    if (tries > 600) throw new Error('the gateway did not take what was written');
    await pause(100);
  }
}

async function fromSource(gateway) {
  const port = await freePort();
  const web = join(here, '../../src/console/web');
  const vite = run(process.execPath, [join(web, 'node_modules/vite/bin/vite.js'), web, '--host', '127.0.0.1', '--port', String(port), '--strictPort'], { GATEWAY: gateway });
  await answers(`http://127.0.0.1:${port}`, vite);
  return `http://127.0.0.1:${port}`;
}

const children = new Set();
// Whatever ends this program takes what it started with it.
const folders = new Set();
process.on('exit', () => { for (const child of children) child.kill('SIGKILL'); for (const folder of folders) rmSync(folder, { recursive: true, force: true }); });

function run(program, words, environment = {}) {
  const loud = process.env.VERBOSE ? 'inherit' : 'ignore';
  const child = spawn(program, words, { stdio: ['ignore', loud, loud], env: { ...process.env, ...environment } });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

async function answers(base, child, also = () => true, at = `${base}/console/config.json`) {
  for (let tries = 0; tries < 1200; tries++) {
    if (child && (child.exitCode !== null || child.signalCode !== null)) throw new Error(`it ended before it answered (${child.exitCode ?? child.signalCode})`);
    try { if ((await fetch(at)).ok && also()) return; } catch { /* not yet */ }
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
