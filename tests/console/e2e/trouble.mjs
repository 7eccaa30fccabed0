// When things break: the gateway restarts, answers with errors, or the camera cannot be played here.

import assert from 'node:assert/strict';
import { framesGrow, liveTiles, openPage, signIn, tile, until } from '../page.mjs';

export const tests = [
  {
    name: 'trouble: a gateway that restarts is noticed in words and lived through without a reload',
    needs: (world) => world.restart !== undefined,
    async run({ world, browser, say }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await until(page, 'three tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 3);
      const playing = (await liveTiles(page)).slice(0, 3);
      await page.evaluate(() => { window.notReloaded = true; });
      await world.restart(9000);
      const during = await page.locator('.tile').evaluateAll((all) => all.map((one) => one.dataset.state));
      say(`states while it was away: ${during.join(', ')}`);
      await until(page, 'tiles are live again', (n) => document.querySelectorAll('.tile[data-state="live"]').length >= n, playing.length, 60_000);
      await framesGrow(page, 'after the restart', playing.map(tile), 45_000);
      assert.equal(await page.evaluate(() => window.notReloaded), true);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'trouble: a camera that falls silent says since when, and plays again when it is back',
    needs: (world) => world.silence !== undefined,
    async run({ world, browser, say }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await until(page, 'three tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 3);
      const name = (await liveTiles(page))[1];
      await world.silence(name, true);
      try {
        await until(page, 'the picture is said to stand still', (name) => ['waiting', 'silent'].includes(document.querySelector(`.tile[data-stream="${name}"]`).dataset.state), name, 40_000);
        await page.locator(`${tile(name)} .tile-words`, { hasText: 'No signal since' }).waitFor({ timeout: 90_000 });
        say(await page.locator(`${tile(name)} .tile-words`).innerText().then((words) => words.replaceAll('\n', ' | ')));
      } finally { await world.silence(name, false); }
      await until(page, 'it is live again', (name) => document.querySelector(`.tile[data-stream="${name}"]`).dataset.state === 'live', name, 60_000);
      await framesGrow(page, 'back', [tile(name)]);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'trouble: a permission that is taken away stops the pictures and says so',
    needs: (world) => world.forbid !== undefined,
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await until(page, 'three tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 3);
      const [name, other] = await liveTiles(page);
      await page.locator(`${tile(name)} .tile-link`).click();
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      await world.forbid(name, true);
      try {
        await page.locator('.stage-words', { hasText: 'No permission' }).waitFor({ timeout: 45_000 });
        await page.evaluate(() => { location.hash = '#/'; });
        await page.locator(tile(other)).waitFor();
        await page.locator(tile(name)).waitFor({ state: 'detached', timeout: 90_000 });
      } finally { await world.forbid(name, false); }
    },
  },
  {
    name: 'trouble: errors of the video service are said and lived through',
    needs: (world) => world.fault !== undefined,
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await world.fault('status=503&times=8&path=getHLSStreamingSessionURL');
      await signIn(page, world, await world.token());
      await page.locator('.tile-words', { hasText: 'Video service in trouble' }).first().waitFor();
      await until(page, 'they play in the end', () => document.querySelectorAll('.tile[data-state="live"]').length >= 3, undefined, 60_000);
      await world.fault('status=503&times=6&path=getHLSMediaPlaylist');
      const [name] = await liveTiles(page);
      await framesGrow(page, 'over failing playlists', [tile(name)]);
    },
  },
  {
    name: 'trouble: H.265, silence and missing permissions are explained',
    needs: (world) => world.kind === 'mock',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await page.locator(`${tile('gate-west')} .tile-words`, { hasText: /No signal since .*Last picture 1\d min/s }).waitFor();
      await until(page, 'H.265 shows stills', () => document.querySelector('.tile[data-stream="ramp-hevc"]')?.dataset.state === 'stills' && document.querySelector('.tile[data-stream="ramp-hevc"] img').naturalWidth > 0);
      await page.evaluate(() => { location.hash = '#/camera/ramp-hevc'; });
      await page.locator('.camera[data-state="stills"]').waitFor();
      await page.keyboard.press('d');
      await page.locator('.info-why', { hasText: 'H.265' }).waitFor();
      await page.evaluate(() => { location.hash = '#/camera/tower-live-only'; });
      await page.locator('.timeline-problem', { hasText: 'does not include the list of recordings' }).waitFor();
      await page.locator('.clip-range', { hasText: 'does not include downloading clips' }).waitFor();
    },
  },
];
