// When things break: the gateway restarts, answers with errors, or the camera cannot be played here.

import assert from 'node:assert/strict';
import { framesGrow, liveTiles, openPage, signIn, tile, until } from '../page.mjs';
import { pause } from '../world.mjs';

const [SICK, SOUND, CODEC] = ['cam-sick', 'cam-sound', 'cam-codec'];
const refusals = {
  [SICK]: { status: 500 },
  [SOUND]: { status: 400, type: 'UnsupportedStreamMediaTypeException', message: 'The type of the media (A_MS/ACM) is not supported.' },
  [CODEC]: { status: 400, type: 'MissingCodecPrivateDataException', message: 'No codec private data was found in at least one of tracks of the video stream.' },
};

/** Cameras that nobody has opened yet, and that KVS refuses to play: what others hold of them cannot help. */
async function sicken(world, names = [SICK, SOUND, CODEC]) {
  await world.plan();
  for (const stream of names) await world.plan({ operation: 'GetHLSStreamingSessionURL', stream, fault: { kind: 'status', ...refusals[stream] } });
  await world.add(...[SICK, SOUND, CODEC]);
}

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
      await world.restart(async () => {
        for (const name of world.kind === 'given' ? [] : playing) await page.locator(`${tile(name)} .tile-words`, { hasText: 'Gateway not reachable' }).waitFor({ timeout: 90_000 });
        say(`while it was away: ${(await page.locator('.tile-words').allInnerTexts()).filter(Boolean).map((words) => words.replaceAll('\n', ' | ')).join('; ')}`);
      });
      const back = Date.now();
      await until(page, 'tiles are live again', (n) => document.querySelectorAll('.tile[data-state="live"]').length >= n, playing.length, 60_000);
      await framesGrow(page, 'after the restart', playing.map(tile), 45_000);
      say(`pictures move again ${((Date.now() - back) / 1000).toFixed(1)} s after it was back`);
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
    name: 'trouble: a policy that ends at a time says so ahead, and what happened when it did',
    needs: (world) => world.policies !== undefined,
    async run({ world, browser, say }) {
      const token = await world.token('vera');
      const page = await openPage(browser, world);
      await signIn(page, world, token, `#/camera/${world.camera}`);
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      const end = Math.ceil(Date.now() / 1000 + 15) * 1000;
      world.policies(`permit (principal in Group::"viewers", action in [Action::"Describe", Action::"View"], resource) when { context.now < datetime("${new Date(end).toISOString()}") };\npermit (principal in Group::"viewers", action == Action::"DescribeStream", resource);`);
      try {
        const told = async () => (await (await fetch(`${world.base}/streams/${world.camera}`, { headers: { authorization: `Bearer ${token}` } })).json()).ends;
        for (let tries = 0; !(await told()); tries++) { assert.ok(tries < 100 && Date.now() < end, 'the gateway tells when it ends'); await pause(100); }
        assert.equal(Date.parse(await told()), end);
        await page.evaluate(() => { location.hash = '#/'; });
        await page.locator(tile(world.camera)).locator('.tile-link').click();
        await page.locator('.camera-bar .pill', { hasText: 'Access ends in' }).waitFor();
        await page.keyboard.press('d');
        await page.locator('.info-why', { hasText: 'Your access ends at' }).waitFor();
        say(await page.locator('.info-why').innerText());
        await page.locator('.stage-words', { hasText: 'Your access to this camera ended at' }).waitFor({ timeout: 90_000 });
        say(await page.locator('.stage-words').innerText().then((words) => words.replaceAll('\n', ' | ')));
        assert.ok(Date.now() >= end);
      } finally { await world.ownPolicies(); }
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'trouble: errors of the video service are said and lived through',
    needs: (world) => world.plan !== undefined || world.fault !== undefined,
    async run({ world, browser, say }) {
      const page = await openPage(browser, world);
      if (world.plan) await sicken(world);
      else await world.fault('status=503&times=8&path=getHLSStreamingSessionURL');
      await signIn(page, world, await world.token());
      const words = page.locator('.tile-words', { hasText: 'Video service in trouble' }).first();
      await words.waitFor({ timeout: 60_000 });
      say(await words.innerText().then((words) => words.replaceAll('\n', ' | ')));
      if (world.plan) await sicken(world, [SOUND, CODEC]);
      await until(page, 'they play in the end', (n) => document.querySelectorAll('.tile[data-state="live"]').length >= n, world.plan ? 4 : 3, 90_000);
      const [name] = world.plan ? [SICK] : await liveTiles(page);
      if (world.plan) await world.plan({ operation: 'GetHLSMediaPlaylist', stream: name, times: 4, fault: { kind: 'status', status: 500 } });
      else await world.fault('status=503&times=6&path=getHLSMediaPlaylist');
      await framesGrow(page, 'over failing playlists', [tile(name)], 60_000);
    },
  },
  {
    name: 'trouble: G.711 and missing codec data are explained',
    needs: (world) => world.plan !== undefined,
    async run({ world, browser, say }) {
      await sicken(world, [SOUND, CODEC]);
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await page.locator(`${tile(CODEC)} .tile-words`, { hasText: 'does not announce its codec settings' }).waitFor();
      const words = page.locator(`${tile(SOUND)} .tile-words`, { hasText: 'G.711' });
      await words.waitFor();
      say(await words.innerText().then((words) => words.replaceAll('\n', ' | ')));
      await page.locator(`${tile(CODEC)} .tile-link`).click();
      await page.locator('.stage-words', { hasText: 'codec private data' }).waitFor();
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'trouble: H.265 that this browser cannot decode shows stills and says why',
    needs: (world) => world.kind !== 'given',
    async run({ world, browser, say }) {
      const page = await openPage(browser, world);
      const camera = world.kind === 'demo' ? world.camera : 'ramp-hevc';
      // The emulator has no H.265: its playlist says so here, and Debian's Chromium has no decoder for it.
      if (world.kind === 'demo') {
        await page.route(/getHLSMasterPlaylist\.m3u8/, async (route) => {
          const answer = await route.fetch();
          await route.fulfill({ response: answer, body: (await answer.text()).replace(/avc1\.[0-9a-f]+/i, 'hvc1.1.6.L93.B0') });
        });
      }
      await signIn(page, world, await world.token());
      await until(page, 'stills', (selector) => { const one = document.querySelector(selector); return one?.dataset.state === 'stills' && one.querySelector('img').naturalWidth > 0; }, tile(camera));
      await page.locator(`${tile(camera)} .tile-link`).click();
      await page.locator('.camera[data-state="stills"]').waitFor();
      await page.keyboard.press('d');
      await page.locator('.info-why', { hasText: 'H.265' }).waitFor();
      say(await page.locator('.info-why').innerText());
    },
  },
  {
    name: 'trouble: what a viewer may not do is said where he would do it',
    needs: (world) => world.kind !== 'given',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      const camera = world.kind === 'demo' ? world.camera : 'tower-live-only';
      await signIn(page, world, await world.token('bob'), `#/camera/${camera}`);
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      await page.locator('.timeline-problem', { hasText: 'Your access does not include' }).waitFor();
      await page.locator('.clip-range', { hasText: 'does not include downloading clips' }).waitFor();
      if (world.kind !== 'mock') return;
      await page.evaluate(() => { location.hash = '#/'; });
      await page.locator(`${tile('gate-west')} .tile-words`, { hasText: /No signal since .*Last picture 1\d min/s }).waitFor();
    },
  },
];
