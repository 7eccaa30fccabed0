// The wall: cameras that play, cameras that are not there, and how soon the first picture is.

import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { alone, framesGrow, liveTiles, openPage, signIn, tile, until } from '../page.mjs';

export const tests = [
  {
    name: 'wall: three cameras play, frames of each grow, and leaving the page open is quiet',
    async run({ world, browser, say }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await until(page, 'three tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 3);
      const playing = (await liveTiles(page)).slice(0, 3);
      await framesGrow(page, 'wall', playing.map(tile));
      say(`plays: ${playing.join(', ')}`);
      for (const name of playing) assert.ok((await page.locator(tile(name)).textContent()).includes('Live'));
      assert.deepEqual(page.wrong, []);
      assert.deepEqual([...page.elsewhere], []);
    },
  },
  {
    name: 'wall: the whole page is below 250 KB gzipped, its parts may be kept for ever, and nothing inline is allowed',
    async run({ world, say }) {
      const page = await fetch(`${world.base}/`);
      const policy = page.headers.get('content-security-policy');
      assert.ok(policy.startsWith("default-src 'none'; script-src 'self'; style-src 'self';") && !policy.includes('unsafe'), policy);
      assert.equal(page.headers.get('cache-control'), 'no-cache');
      let total = 0;
      const seen = new Set();
      const visit = async (path) => {
        if (seen.has(path)) return;
        seen.add(path);
        const answer = await fetch(`${world.base}${path}`);
        assert.equal(answer.status, 200, path);
        if (path !== '/') assert.match(answer.headers.get('cache-control'), /immutable/, path);
        const text = await answer.text();
        total += gzipSync(text).length;
        for (const [, found] of text.matchAll(/["'`(](?:\.\/|\/console\/|console\/)([\w-]+-[\w-]{8}\.(?:js|css|svg))/g)) await visit(`/console/${found}`);
      };
      await visit('/');
      assert.ok([...seen].some((path) => path.includes('/hls-')), 'hls.js is among them');
      say(`${seen.size} files, ${(total / 1000).toFixed(0)} kB gzipped`);
      assert.ok(total < 250_000);
    },
  },
  {
    name: 'wall: a camera that is denied is absent, and its address says so in words',
    needs: (world) => world.denied !== undefined,
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token(world.deniedTo ?? 'alice'));
      await page.locator('.tile').first().waitFor();
      assert.equal(await page.locator(tile(world.denied)).count(), 0);
      await page.evaluate((name) => { location.hash = `#/camera/${name}`; }, world.denied);
      await page.getByRole('heading', { name: `There is no camera “${world.denied}” for you` }).waitFor();
    },
  },
  {
    name: 'wall: search narrows, tiles off the screen stop, and coming back is quick',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await until(page, 'two tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 2);
      const [name, other] = await liveTiles(page);
      await page.keyboard.press('/');
      await page.keyboard.type(name);
      await page.locator(tile(other)).waitFor({ state: 'detached' });
      await framesGrow(page, 'found', [tile(name)]);
      await page.keyboard.press('Escape');
      await page.locator(tile(other)).waitFor();
      await page.locator('.search-field').fill('no such camera');
      await page.getByText('No camera matches').waitFor();
      await page.getByRole('button', { name: 'Show all' }).click();
      await page.setViewportSize({ width: 380, height: 200 });
      await until(page, 'a tile below the screen is paused', () => [...document.querySelectorAll('.tile')].some((one) => one.dataset.state === 'paused'));
      await page.locator('.tile').last().scrollIntoViewIfNeeded();
      await until(page, 'the last tile starts', () => [...document.querySelectorAll('.tile')].at(-1).dataset.state !== 'paused');
    },
  },
  {
    name: 'wall: one camera fills the screen, and the wall does',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await until(page, 'a tile is live', () => document.querySelector('.tile[data-state="live"]') !== null);
      const [name] = await liveTiles(page);
      await page.locator(tile(name)).hover();
      await page.getByRole('button', { name: `Fill the screen: ${name}` }).click();
      await until(page, 'the camera fills the screen', (selector) => document.fullscreenElement === document.querySelector(selector), tile(name));
      await framesGrow(page, 'on the whole screen', [tile(name)]);
      await page.evaluate(() => document.exitFullscreen());
      await until(page, 'it is a tile again', () => document.fullscreenElement === null);
      await page.getByRole('button', { name: 'Full screen', exact: true }).click();
      await until(page, 'the wall fills the screen', () => document.fullscreenElement === document.documentElement);
      await page.getByRole('button', { name: 'Leave full screen' }).click();
      await until(page, 'and leaves it', () => document.fullscreenElement === null);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'wall: the first live picture, beside hls.js alone on the same playlist',
    async run({ world, browser, say }) {
      const token = await world.token();
      const warm = await openPage(browser, world);
      await signIn(warm, world, token);
      await until(warm, 'three tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 3);
      const [name] = await liveTiles(warm);
      await warm.evaluate(() => { location.hash = '#/camera/none'; });
      await warm.waitForFunction(() => document.querySelector('video') === null);
      const bare = [];
      for (let n = 0; n < 3; n++) bare.push(await warm.evaluate(alone, [token, name]));
      const ours = [];
      for (let n = 0; n < 3; n++) {
        await warm.evaluate(() => { performance.clearMarks(); window.opened = performance.now(); location.hash = '#/'; });
        ours.push(await (await warm.waitForFunction((name) => { const mark = performance.getEntriesByName(`first-picture:${name}`)[0]; return mark ? mark.startTime - window.opened : false; }, name)).jsonValue());
        await warm.evaluate(() => { location.hash = '#/camera/none'; });
        await warm.waitForFunction(() => document.querySelector('video') === null);
      }
      const best = (list) => Math.min(...list);
      say(`first picture after opening the wall: ${ours.map(Math.round).join(', ')} ms; hls.js alone: ${bare.map(Math.round).join(', ')} ms; ratio of the first ${(ours[0] / bare[0]).toFixed(2)}, of the best ${(best(ours) / best(bare)).toFixed(2)}`);
    },
  },
];
