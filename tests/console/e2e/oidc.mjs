// Single sign-on against a real, small OIDC provider from npm: code with PKCE, silent renewal, and a reload.

import assert from 'node:assert/strict';
import { openPage, until } from '../page.mjs';
import { startProvider } from '../provider.mjs';
import { freePort, makeWorld } from '../world.mjs';

/** How long the provider's tokens live: renewed after four fifths of it. */
const SECONDS = 10;

export const tests = [{
  name: 'oidc: code with PKCE signs in, comes back to the same camera, survives a reload, and renews by itself',
  needs: (world) => world.kind !== 'given',
  async run({ browser, say }) {
    const port = await freePort();
    const issuer = `http://127.0.0.1:${port}`;
    // The gateway must know the issuer before the provider can know the gateway's address: they agree on the way back by any port of loopback.
    const world = await makeWorld({ issuers: [{ issuer, client_id: 'console', scope: 'openid', token_endpoint: `${issuer}/token`, authorization_endpoint: `${issuer}/auth` }] });
    const provider = await startProvider({ port, redirect: `${world.base}/`, seconds: SECONDS });
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
      // Twice renewed is longer than the first token lived.
      for (let tries = 0; provider.issued() < first + 2; tries++) { assert.ok(tries < 1200, 'renewed'); await page.waitForTimeout(100); }
      assert.equal(await page.locator('dialog').count(), 0, 'nobody was asked to sign in again');
      assert.equal(await page.locator('.warning:not([hidden])').count(), 0);
      await until(page, 'still live', () => document.querySelector('.camera')?.dataset.state === 'live');
      say(`tokens issued: ${provider.issued()}`);
      assert.deepEqual(page.wrong, []);
      const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
      assert.ok(!/eyJ/.test(kept), 'no token is stored');
    } finally {
      await provider.stop();
      await world.stop();
    }
  },
}];
