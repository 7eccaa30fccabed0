// The console behind access proxies: Debian's Apache with mod_auth_openidc, and one that answers as oauth2-proxy and others
// do. Watching, downloading, the end of the proxy's session, signing out; and an SDK through the same address.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { openPage, until } from '../page.mjs';
import { startApache, startProxy } from '../proxies.mjs';
import { startShape } from '../shapes.mjs';
import { freePort, makeWorld } from '../world.mjs';

const CLIENT = 'kvs-edge console';
const live = (page) => until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
const chip = (page) => page.locator('.chip', { hasText: 'alice' });

/** An unmodified boto3 program with the demo's token, through the proxy. */
async function sdk(world, base) {
  const token = await world.token('alice');
  const env = { ...process.env, AWS_ENDPOINT_URL_KINESIS_VIDEO: base, AWS_ACCESS_KEY_ID: 'kvsedge', AWS_SECRET_ACCESS_KEY: 'kvsedge', AWS_SESSION_TOKEN: token, AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-1' };
  const { stdout } = await promisify(execFile)('python3', [new URL('../../clients/two_step.py', import.meta.url).pathname], { env, timeout: 120_000 });
  const got = JSON.parse(stdout);
  assert.equal(got.endpoint, base, 'the data calls go through the proxy too');
  assert.ok(got.clip.bytes > 10_000 && got.fragments.count > 5 && got.images > 0 && got.mkv === 3);
  assert.ok(got.hls.startsWith(`${base}/hls/v1/`));
  const playlist = await fetch(got.hls);
  assert.equal(playlist.status, 200, 'and so does a player without a cookie');
  return got;
}

/** A clip, as the browser downloads it: by an address, with its cookies. */
async function clip(page, base) {
  const at = (ago) => new Date(Date.now() - ago).toISOString();
  const answer = await page.context().request.get(`${base}/streams/cam-1/clip.mp4?start=${at(90e3)}&end=${at(60e3)}`);
  assert.equal(answer.status(), 200);
  assert.equal(answer.headers()['content-type'], 'video/mp4');
  const bytes = (await answer.body()).length;
  assert.equal(Number(answer.headers()['content-length']), bytes);
  return bytes;
}

/** How many requests of the page are refused within so many seconds. */
async function refusedWithin(page, list, seconds) {
  const before = list.length;
  await page.waitForTimeout(seconds * 1000);
  return list.length - before;
}

const HEADERS = (extra) => `[identity]\nheaders = ["X-Forwarded-Access-Token"]\nsign_out = "${extra}"`;

export const tests = [
  {
    name: 'proxy: Apache with mod_auth_openidc in front of console, live, clip and SDK',
    needs: (world) => world.kind === 'demo',
    async run({ browser, say }) {
      const port = await freePort();
      const base = `http://127.0.0.1:${port}`;
      const provider = await startShape('Keycloak', { seconds: 60 });
      provider.home = base;
      provider.redirect = `${base}/redirect_uri`;
      const world = await makeWorld({ issuers: [{ issuer: provider.issuer, listed: false, toml: `issuer = "${provider.issuer}"\naudience = ["kvs-edge"]\nalgorithms = ["RS256"]\ndiscovery = true\nplaces = ["X-Forwarded-Access-Token"]\nclaims = { subject = "/preferred_username", groups = "/realm_access/roles" }\n${HEADERS(`/redirect_uri?logout=${encodeURIComponent(`${base}/`)}`)}` }] });
      const gateway = await world.serve(base);
      const apache = await startApache({ port, gateway, provider, clientId: CLIENT });
      try {
        const page = await openPage(browser, { ...world, base });
        const refused = [];
        page.on('response', (answer) => { if (answer.status() === 401) refused.push(answer.url()); });
        await page.goto(`${base}/#/camera/cam-1`);
        await page.locator('input[name="login"]').fill('alice');
        await page.locator('button[type="submit"]').click();
        await chip(page).waitFor();
        await page.goto(`${base}/#/camera/cam-1`);
        await live(page);
        const bytes = await clip(page, base);
        const got = await sdk(world, base);
        // Without a session Apache answers scripts with 401.
        const script = await fetch(`${base}/streams`, { headers: { accept: 'application/json', 'x-requested-with': 'XMLHttpRequest' }, redirect: 'manual' });
        assert.equal(script.status, 401);
        const forged = await fetch(`${base}/listStreams`, { method: 'POST', headers: { 'x-forwarded-access-token': await world.token('alice') }, body: '{}' });
        assert.equal(forged.status, 401, 'nobody but Apache sets the header');
        await page.context().clearCookies({ name: /mod_auth_openidc/ });
        await page.locator('dialog', { hasText: 'Your session has ended' }).waitFor({ timeout: 60_000 });
        const asked = await refusedWithin(page, refused, 10);
        assert.ok(asked <= 3, `${asked} requests in 10 s`);
        await page.locator('dialog').getByRole('button', { name: 'Reload and sign in again' }).click();
        await chip(page).waitFor();
        await page.locator('.chip').click();
        await page.getByRole('button', { name: 'Sign out' }).click();
        await page.locator('input[name="login"]').waitFor();
        assert.equal(provider.signedOut.length, 1);
        assert.deepEqual(page.wrong, []);
        say(`clip of ${bytes} bytes; SDK: clip of ${got.clip.bytes}, ${got.fragments.count} fragments, ${got.images} images; ${asked} requests in the 10 s after the session's end`);
      } catch (error) {
        throw new Error(`${error.stack}\nApache: ${apache.log()}`);
      } finally {
        await apache.stop();
        await provider.stop();
        await world.stop();
      }
    },
  },
  {
    name: 'proxy: the requests of oauth2-proxy and others, and what the console makes of a 401, a redirect and a sign-in page',
    needs: (world) => world.kind === 'demo',
    async run({ browser, say }) {
      const world = await makeWorld({ issuers: [] });
      await world.configured(HEADERS('/oauth2/sign_out'), 'sign_out');
      const proxy = await startProxy({ token: await world.token('alice') });
      proxy.gateway = await world.serve(proxy.base);
      try {
        const page = await openPage(browser, { ...world, base: proxy.base });
        for (const mode of ['status', 'redirect', 'page']) {
          proxy.mode = mode;
          await page.goto(`${proxy.base}/oauth2/start`);
          await page.goto(`${proxy.base}/#/camera/cam-1`);
          await chip(page).waitFor();
          await live(page);
          await page.context().clearCookies();
          await page.locator('dialog', { hasText: 'Your session has ended' }).waitFor({ timeout: 60_000 });
          const asked = await refusedWithin(page, proxy.refused, 10);
          assert.ok(asked <= 3, `${mode}: ${asked} requests in 10 s`);
          say(`${mode}: ${asked} requests in the 10 s after the session's end`);
          await page.context().addCookies([{ name: '_oauth2_proxy', value: '1', url: proxy.base }]);
          await page.locator('dialog').getByRole('button', { name: 'Reload and sign in again' }).click();
          await chip(page).waitFor();
        }
        const bytes = await clip(page, proxy.base);
        const got = await sdk(world, proxy.base);
        // With --pass-authorization-header the token is in another place.
        proxy.header = 'authorization';
        await page.reload();
        await chip(page).waitFor();
        // While nothing works behind the proxy: an open camera waits, and as long as it is asked to.
        await live(page);
        for (const [down, most] of [[{ status: 503, headers: { 'retry-after': '30' } }, 3], [{ status: 502, headers: {} }, 25]]) {
          proxy.down = down;
          await page.waitForTimeout(12_000);
          const asked = await refusedWithin(page, proxy.refused, 10);
          assert.ok(asked <= most, `${down.status}: ${asked} requests in 10 s`);
          say(`${down.status} ${JSON.stringify(down.headers)}: ${asked} requests in 10 s`);
        }
        proxy.down = undefined;
        await page.reload();
        await chip(page).waitFor();
        proxy.mode = 'status';
        await page.locator('.chip').click();
        await page.getByRole('button', { name: 'Sign out' }).click();
        await page.getByRole('link', { name: 'Sign in with your company' }).waitFor();
        assert.equal(proxy.signedOut, 1);
        assert.deepEqual(page.wrong, []);
        say(`clip of ${bytes} bytes; SDK: clip of ${got.clip.bytes}, ${got.fragments.count} fragments, ${got.images} images`);
      } finally {
        await proxy.stop();
        await world.stop();
      }
    },
  },
];
