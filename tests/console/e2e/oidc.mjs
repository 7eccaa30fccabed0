// Single sign-on by the gateway: in the shapes of seven providers, over an hour in short, in two tabs, behind proxies, and
// against a real, small OIDC provider from npm.

import assert from 'node:assert/strict';
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPage, until } from '../page.mjs';
import { startProvider } from '../provider.mjs';
import { secretOf, startShape } from '../shapes.mjs';
import { freePort, makeWorld, pause } from '../world.mjs';

/** How long tokens live: renewed after four fifths of it. */
const SECONDS = 10;
const CLIENT = 'kvs-edge console';

/** Runs with a demo that people sign in to with these providers. */
async function withShapes(names, seconds, run) {
  const folder = mkdtempSync(join(tmpdir(), 'kvs-edge-secret-'));
  writeFileSync(join(folder, 'secret'), secretOf());
  const providers = [];
  for (const name of names) providers.push(await startShape(name, { seconds }));
  const issuers = providers.map(({ issuer, shape }) => ({ issuer, toml: `${shape.toml(issuer, `file:${join(folder, 'secret')}`)}\nclient_id = "${CLIENT}"\nalgorithms = ["RS256"]` }));
  const world = await makeWorld({ issuers });
  // Google's tokens have no groups: people are named.
  world.permit('permit (principal == User::"alice@example.com", action, resource);');
  for (const provider of providers) provider.home = world.base;
  try { await run(world, providers); } finally {
    await Promise.all(providers.map((provider) => provider.stop()));
    await world.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const who = (provider, user = 'alice') => provider.shape.subjectShown?.(user) ?? user;
const chip = (page, name) => page.locator('.chip', { hasText: name });
const live = (page) => until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
const button = (page, nth) => page.getByRole('button', { name: 'Sign in with 127.0.0.1' }).nth(nth);

/** From the page to the provider and back. */
async function signInAt(page, world, nth, user = 'alice', hash = `#/camera/${world.camera}`) {
  await page.goto(`${world.base}/${hash}`);
  await button(page, nth).click();
  await page.locator('input[name="login"]').fill(user);
  await page.locator('button[type="submit"]').click();
}

async function signOut(page) {
  await page.locator('.chip').click();
  await page.getByRole('button', { name: 'Sign out' }).click();
}

/** What the page and its scripts can see. */
const seen = (page) => page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.documentElement.outerHTML]));

/** Signs in and out with one provider. */
async function oneShape({ browser, say }, world, provider, nth) {
  const page = await openPage(browser, world);
  await signInAt(page, world, nth);
  await chip(page, who(provider)).waitFor();
  assert.equal(page.url(), `${world.base}/#/camera/${world.camera}`);
  await live(page);
  const kept = await seen(page);
  assert.ok(!/eyJ|kvs-edge-session/.test(kept), 'no token and no session is within reach of a script');
  const cookies = (await page.context().cookies(world.base)).filter(({ name }) => name.startsWith('kvs-edge-session'));
  assert.ok(cookies.length > 0 && cookies.every(({ httpOnly, sameSite }) => httpOnly && sameSite === 'Lax'));
  await page.reload();
  await chip(page, who(provider)).waitFor();
  if (provider.shape.refresh === 'never') {
    // Only the person can go on, with one click: the provider remembers.
    await page.locator('.warning', { hasText: 'Your session ends in' }).waitFor({ timeout: 60_000 });
    await page.locator('.warning button').click();
    await page.locator('dialog').getByRole('button', { name: 'Sign in with' }).nth(nth).click();
    await page.locator('.warning').waitFor({ state: 'hidden' });
  } else {
    // Twice renewed is longer than the first token lived.
    const before = provider.issued;
    for (let tries = 0; provider.issued < before + 2; tries++) { assert.ok(tries < 900, 'renewed'); await page.waitForTimeout(100); }
  }
  await chip(page, who(provider)).waitFor();
  await live(page);
  assert.equal(await page.locator('dialog').count(), 0);
  await signOut(page);
  await button(page, nth).waitFor();
  assert.equal((await page.context().cookies(world.base)).filter(({ name }) => name.startsWith('kvs-edge-session')).length, 0);
  const leaves = provider.document.end_session_endpoint !== undefined;
  if (leaves) { for (let tries = 0; provider.signedOut.length === 0; tries++) { assert.ok(tries < 100, 'signed out there'); await pause(50); } }
  if (leaves) {
    await button(page, nth).click();
    await page.locator('input[name="login"]').waitFor();
  }
  assert.deepEqual(provider.refused, []);
  assert.equal(provider.reused, 0);
  assert.deepEqual(page.wrong, []);
  say(`${provider.name}: ${cookies.length} cookie(s) of ${cookies.map(({ value }) => value.length).join(', ')} bytes, ${provider.issued} answers with tokens, ${provider.revoked} revoked, signed out at the provider: ${leaves}`);
  await page.context().close();
}

const shapes = (names) => ({
  name: `oidc: people sign in, go on and sign out with ${names.join(', ')}`,
  needs: (world) => world.kind === 'demo',
  run: (test) => withShapes(names, SECONDS, async (world, providers) => {
    for (const [nth, provider] of providers.entries()) await oneShape(test, world, provider, nth);
  }),
});

export const tests = [
  shapes(['Okta', 'Entra', 'Auth0', 'Keycloak']),
  shapes(['Google', 'Cognito', 'Dex']),
  {
    name: 'oidc: an hour of five-minute tokens, in short: two tabs renew as one, and sign out as one',
    needs: (world) => world.kind === 'demo',
    run: ({ browser, say }) => withShapes(['Keycloak'], 8, async (world, [provider]) => {
      const one = await openPage(browser, world);
      await signInAt(one, world, 0);
      await chip(one, 'alice').waitFor();
      const two = await one.context().newPage();
      await two.goto(`${world.base}/#/`);
      await chip(two, 'alice').waitFor();
      const third = await one.context().newPage();
      await third.goto(`${world.base}/#/camera/cam-2`);
      await chip(third, 'alice').waitFor();
      // Twelve times five minutes.
      const before = provider.issued;
      for (let tries = 0; provider.issued < before + 12; tries++) { assert.ok(tries < 1800, `${provider.issued - before} renewals`); await one.waitForTimeout(100); }
      for (const page of [one, two, third]) assert.equal(await page.locator('dialog, .warning:not([hidden])').count(), 0, 'nobody was asked');
      assert.equal(provider.reused, 0, 'no refresh token was used twice');
      await live(one);
      await until(two, 'the wall plays', () => document.querySelector('.tile[data-state="live"]') !== null);
      say(`${provider.issued - before} renewals by three tabs`);
      await signOut(two);
      await button(two, 0).waitFor();
      for (const page of [one, third]) await button(page, 0).waitFor();
      // Signed in again in one, the others go on by themselves, each where it was.
      await button(one, 0).click();
      await one.locator('input[name="login"]').fill('alice');
      await one.locator('button[type="submit"]').click();
      for (const page of [one, two, third]) await chip(page, 'alice').waitFor();
      assert.ok(third.url().endsWith('#/camera/cam-2'), third.url());
      assert.deepEqual(one.wrong, []);
    }),
  },
  {
    name: 'oidc: what goes wrong at the provider is said in words, and a pasted token works beside',
    needs: (world) => world.kind === 'demo',
    run: ({ browser }) => withShapes(['Okta'], 3600, async (world) => {
      const page = await openPage(browser, world);
      const says = (words) => page.locator('#token-problem').filter({ hasText: words }).waitFor();
      await page.goto(`${world.base}/console/sign-in/callback?code=stolen&state=made-up`);
      await says('began in another browser');
      assert.equal(page.url(), `${world.base}/`);
      await page.goto(`${world.base}/?sign_in_problem=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E`);
      await says('<img src=x onerror=alert(1)>');
      assert.equal(await page.locator('#token-problem img').count(), 0);
      // Signed in, then a token of somebody else: one credential at a time.
      await signInAt(page, world, 0);
      await chip(page, 'alice').waitFor();
      await page.context().clearCookies();
      await page.reload();
      await page.locator('#token').fill(await world.token('vera'));
      await page.keyboard.press('Enter');
      await chip(page, 'vera').waitFor();
      assert.deepEqual(page.wrong, []);
    }),
  },
  {
    name: 'oidc: over TLS the cookies are of this host alone, and hold the token of somebody in many groups',
    needs: (world) => world.kind === 'demo',
    run: ({ browser, say }) => withShapes(['Entra'], 25, async (world, [provider]) => {
      const base = await world.serve(undefined, true);
      provider.home = base;
      const page = await openPage(browser, { ...world, base }, { ignoreHTTPSErrors: true });
      await signInAt(page, { ...world, base }, 0, 'member-of-many');
      await chip(page, 'member-of-many').waitFor();
      await live(page);
      const cookies = (await page.context().cookies(base)).filter(({ name }) => name.includes('session'));
      assert.ok(cookies.length >= 3, `${cookies.length} cookies`);
      assert.ok(cookies.every(({ name, secure, httpOnly, sameSite, path }) => /^__Host-kvs-edge-session-\d$/.test(name) && secure && httpOnly && sameSite === 'Lax' && path === '/'));
      assert.ok(cookies.every(({ name, value }) => name.length + value.length <= 4096));
      // Through renewals, longer than two tokens live, the player goes on as the same one.
      const source = () => page.locator('.camera-stage video').evaluate((video) => video.src);
      const [before, first] = [provider.issued, await source()];
      for (let tries = 0; provider.issued < before + 3; tries++) { assert.ok(tries < 1200, 'renewed'); await page.waitForTimeout(100); }
      assert.equal(await source(), first, 'no new player');
      await page.reload();
      await chip(page, 'member-of-many').waitFor();
      await live(page);
      await signOut(page);
      await button(page, 0).waitFor();
      assert.equal((await page.context().cookies(base)).filter(({ name }) => name.includes('kvs-edge')).length, 0);
      assert.deepEqual(page.wrong, []);
      say(`${cookies.length} cookies of ${cookies.map(({ value }) => value.length).join(', ')} bytes`);
    }),
  },
  {
    name: 'oidc: code with PKCE signs in, comes back to the same camera, survives a reload, and renews by itself',
    needs: (world) => world.kind === 'demo',
    async run({ browser, say }) {
      const port = await freePort();
      const issuer = `http://127.0.0.1:${port}`;
      const world = await makeWorld({ issuers: [{ issuer, client_id: 'console' }] });
      const provider = await startProvider({ port, redirect: `${world.base}/console/sign-in/callback`, seconds: SECONDS });
      const { camera } = world;
      try {
        const page = await openPage(browser, world);
        await page.goto(`${world.base}/#/camera/${camera}`);
        await page.getByRole('button', { name: 'Sign in with 127.0.0.1' }).click();
        await page.locator('input[name="login"]').fill('carol');
        await page.locator('input[name="password"]').fill('x');
        await page.locator('button[type="submit"]').click();
        const consent = page.getByRole('button', { name: 'Continue' });
        await consent.waitFor();
        await consent.click();
        await page.locator('.chip', { hasText: 'carol' }).waitFor();
        assert.ok(page.url().endsWith(`#/camera/${camera}`), page.url());
        assert.ok(!page.url().includes('code='));
        await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
        await page.reload();
        await page.locator('.chip', { hasText: 'carol' }).waitFor();
        const first = provider.issued();
        await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
        // It gives no refresh token: renewed in a hidden frame, twice, which is longer than the first token lived.
        for (let tries = 0; provider.issued() < first + 2; tries++) { assert.ok(tries < 1200, 'renewed'); await page.waitForTimeout(100); }
        assert.equal(await page.locator('dialog').count(), 0, 'nobody was asked to sign in again');
        assert.equal(await page.locator('.warning:not([hidden])').count(), 0);
        await until(page, 'still live', () => document.querySelector('.camera')?.dataset.state === 'live');
        say(`tokens issued: ${provider.issued()}`);
        assert.deepEqual(page.wrong, []);
        assert.ok(!/eyJ/.test(await seen(page)), 'no token is stored');
      } finally {
        await provider.stop();
        await world.stop();
      }
    },
  },
];
