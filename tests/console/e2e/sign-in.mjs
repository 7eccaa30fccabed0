// Signing in by token: what is said when it does not work, and where the token is not.

import assert from 'node:assert/strict';
import { openPage, signIn, until } from '../page.mjs';

const problem = (page) => page.locator('#token-problem');

export const tests = [
  {
    name: 'sign in: a wrong token is refused in words, a good one opens the wall, and it is kept nowhere',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      const token = await world.token();
      await signIn(page, world, 'nonsense');
      await problem(page).filter({ hasText: 'three parts' }).waitFor();
      await page.locator('#token').fill(`${token.slice(0, -6)}.AAAA.AAAA`);
      await page.locator('#token').fill(`e30.${Buffer.from('{"exp":1}').toString('base64url')}.x`);
      await page.keyboard.press('Enter');
      await problem(page).filter({ hasText: 'expired' }).waitFor();
      await page.locator('#token').fill(`e30.${Buffer.from('{"sub":"x"}').toString('base64url')}.x`);
      await page.keyboard.press('Enter');
      await problem(page).filter({ hasText: 'did not accept' }).waitFor();
      await page.locator('#token').fill(token);
      await page.keyboard.press('Enter');
      await page.locator('.tile').first().waitFor();
      await page.locator('.chip', { hasText: /alice|left/ }).waitFor();
      const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.documentElement.outerHTML]));
      for (const part of token.split('.').filter((part) => part.length > 20)) assert.ok(!kept.includes(part), 'the token is nowhere in the page');
      await page.reload();
      await page.locator('#token').waitFor();
      assert.deepEqual([...page.elsewhere], [], 'no request goes elsewhere');
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'sign in: a cookie or header of an access proxy is used silently',
    needs: (world) => world.proxy !== undefined,
    async run({ world, browser }) {
      await world.proxy('access-token', 'access');
      const quietly = async (page, who) => {
        await page.goto(world.base);
        await page.locator('.chip', { hasText: who }).waitFor();
        await until(page, 'a tile plays', () => document.querySelector('.tile[data-state="live"]') !== null);
        assert.deepEqual(page.wrong, []);
      };
      const page = await openPage(browser, world);
      await page.context().addCookies([{ name: 'access', value: await world.token('vera'), url: world.base, httpOnly: true }]);
      await quietly(page, 'vera');
      if (world.kind === 'demo') await quietly(await openPage(browser, world, { extraHTTPHeaders: { 'access-token': await world.token('bob') } }), 'bob');
    },
  },
  {
    name: 'sign in: a session that ends is announced, stops the pictures, and goes on with a new token',
    needs: (world) => !world.oneTokenOnly,
    async run({ world, browser }) {
      // Long enough to be seen from its beginning, however slow this machine is today; as short as that allows.
      const rehearsal = await openPage(browser, world);
      const began = Date.now();
      await signIn(rehearsal, world, await world.token('alice', 3600));
      await until(rehearsal, 'a tile plays', () => document.querySelector('.tile[data-state="live"]') !== null, undefined, 60_000);
      const life = Math.ceil(12 + (3 * (Date.now() - began)) / 1000);
      await rehearsal.context().close();
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token('alice', life));
      await until(page, 'a tile plays', () => document.querySelector('.tile[data-state="live"]') !== null);
      await page.locator('.warning', { hasText: 'Your session ends in' }).waitFor({ timeout: (life + 30) * 1000 });
      await page.locator('dialog', { hasText: 'Your session has ended' }).waitFor({ timeout: (life + 30) * 1000 });
      await until(page, 'tiles say that the session ended', () => [...document.querySelectorAll('.tile')].some((tile) => tile.dataset.state === 'signedOut'));
      await page.locator('dialog #token').fill(await world.token('alice', 3600));
      await page.keyboard.press('Enter');
      await page.locator('dialog').waitFor({ state: 'detached' });
      await until(page, 'tiles play again', () => document.querySelector('.tile[data-state="live"]') !== null);
      assert.deepEqual(page.wrong, []);
    },
  },
];
