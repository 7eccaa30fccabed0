// One camera: live, the archive, gaps, thumbnails, keys, and links to a moment.

import assert from 'node:assert/strict';
import { fragments, framesGrow, landing, liveTiles, openPage, pauseIt, placeOf, position, signIn, tile, until } from '../page.mjs';

async function openCamera(browser, world, hash = '', options) {
  const page = await openPage(browser, world, options);
  const token = await world.token();
  await signIn(page, world, token, hash);
  if (hash) return { page, token };
  await until(page, 'a tile is live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 2);
  const [first, second] = await liveTiles(page);
  return { page, token, first, second };
}

/** A gap of some seconds in the last hour of a stream that records now, if there is one. */
export async function findGap(world, token) {
  const answer = await fetch(`${world.base}/streams`, { headers: { authorization: `Bearer ${token}` } });
  for (const { name, actions } of (await answer.json()).streams) {
    if (!actions.includes('ListFragments')) continue;
    const end = Date.now();
    const list = await fragments(world, token, name, end - 50 * 60e3, end);
    for (let n = list.length - 1; n > 0; n--) {
      const [before, after] = [list[n - 1], list[n]];
      if (after.start - before.start > 8000 && end - after.start > 60e3 && end - list.at(-1).start < 30e3) return { name, from: before.start + Math.max(before.length, 2000), to: after.start };
    }
  }
  return undefined;
}

export const tests = [
  {
    name: 'camera: opens from the wall and plays live with sound where there is sound',
    async run({ world, browser }) {
      const { page, first } = await openCamera(browser, world);
      await page.locator(`${tile(first)} .tile-link`).click();
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      await framesGrow(page, 'camera', ['.camera-stage']);
      await page.locator('.pill', { hasText: 'behind the camera' }).waitFor();
      assert.equal(await page.locator('.camera-switch').textContent(), first);
      await page.keyboard.press('d');
      await page.locator('.info', { hasText: 'H.264' }).waitFor();
      await until(page, 'the cache speaks', () => document.querySelectorAll('.square').length > 2);
      assert.equal(await page.locator('.square.unknown').count(), 0, 'every fragment says what the cache did');
      await page.keyboard.press('Escape');
      await page.keyboard.press('Escape');
      await page.locator('.tile').first().waitFor();
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'camera: a click on the time line plays the archive from there, and Live comes back',
    async run({ world, browser }) {
      const { page, token, first } = await openCamera(browser, world);
      await page.locator(`${tile(first)} .tile-link`).click();
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      const list = await fragments(world, token, first, Date.now() - 9 * 60e3, Date.now() - 5 * 60e3);
      assert.ok(list.length > 20, 'something is recorded');
      const wanted = list[list.length >> 1].start + 700;
      let sessions = 0;
      page.on('request', (request) => { if (request.url().endsWith('/getHLSStreamingSessionURL')) sessions += 1; });
      const first_place = await landing(page, async () => page.mouse.click(...await placeOf(page, wanted)));
      const pixel = await page.locator('.timeline-track').evaluate((track) => Number(track.dataset.span) / track.clientWidth);
      assert.ok(Math.abs(first_place.wanted - wanted) <= 2 * pixel + 300, `wanted ${first_place.wanted - wanted} ms from the place that was clicked`);
      assert.ok(Math.abs(first_place.reached - first_place.wanted) < 3000, `reached ${first_place.reached - first_place.wanted} ms from it`);
      await until(page, 'the archive plays', () => document.querySelector('.camera')?.dataset.state === 'archive');
      await framesGrow(page, 'archive', ['.camera-stage']);
      // Standing still, so that a machine that is too busy to play cannot be what opens a session.
      await pauseIt(page);
      const before = await position(page);
      sessions = 0;
      const back = await landing(page, () => page.keyboard.press('ArrowLeft'));
      assert.ok(Math.abs(back.reached - (before - 5000)) < 2500, `${(back.reached - before) / 1000} s from the picture before`);
      assert.equal(sessions, 0, 'scrubbing nearby opens no session');
      await page.keyboard.press(' ');
      await framesGrow(page, 'from there', ['.camera-stage']);
      await page.getByRole('button', { name: 'Live', exact: true }).click();
      await until(page, 'live again', () => document.querySelector('.camera')?.dataset.state === 'live');
      await framesGrow(page, 'live again', ['.camera-stage']);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'camera: a gap is seen, named under the hand, and skipped with words',
    async run({ world, browser, say }) {
      const token = await world.token();
      const gap = await findGap(world, token);
      if (!gap) { say('nothing recorded here has a gap'); return; }
      const middle = (gap.from + gap.to) / 2;
      const { page } = await openCamera(browser, world, `#/camera/${gap.name}?t=${new Date(gap.from - 90e3).toISOString()}`);
      await until(page, 'the archive plays', () => document.querySelector('.camera')?.dataset.state === 'archive');
      await page.mouse.move(...await placeOf(page, middle - 200));
      await page.mouse.move(...await placeOf(page, middle));
      await page.locator('.thumb-words', { hasText: 'Nothing recorded' }).waitFor();
      const colours = await page.locator('.timeline-canvas').evaluate((canvas, [inGap, before]) => {
        const box = canvas.getBoundingClientRect();
        const pixel = (x) => [...canvas.getContext('2d').getImageData((x - box.left) * (canvas.width / box.width), canvas.height * 0.6, 1, 1).data].join();
        return [pixel(inGap), pixel(before)];
      }, [(await placeOf(page, middle))[0] + 3, (await placeOf(page, gap.from - 30e3))[0]]);
      assert.notEqual(colours[0], colours[1], 'the gap looks different');
      await page.mouse.click(...await placeOf(page, middle));
      await page.locator('.notice', { hasText: 'Nothing is recorded there. Going on at' }).waitFor();
      await until(page, 'plays after the gap', (to) => Number(document.querySelector('.timeline-track').dataset.position) >= to - 3000 && document.querySelector('.camera').dataset.state === 'archive', gap.to);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'camera: thumbnails while hovering',
    async run({ world, browser }) {
      const { page, token, first } = await openCamera(browser, world);
      await page.locator(`${tile(first)} .tile-link`).click();
      const list = await fragments(world, token, first, Date.now() - 9 * 60e3, Date.now() - 5 * 60e3);
      await until(page, 'the time line knows', (at) => { const track = document.querySelector('.timeline-track'); return track && Number(track.dataset.start) < at; }, list[0].start);
      const [x, y] = await placeOf(page, list[list.length >> 1].start + 500);
      await page.mouse.move(x - 4, y);
      await page.mouse.move(x, y);
      await until(page, 'a thumbnail', () => { const image = document.querySelector('.thumb:not([hidden]) img:not([hidden])'); return image && image.complete && image.naturalWidth > 0; });
    },
  },
  {
    name: 'camera: keys pause, step, speed up, rewind, zoom and jump',
    async run({ world, browser }) {
      const token = await world.token();
      const gap = await findGap(world, token);
      const name = gap?.name ?? (await (await fetch(`${world.base}/streams`, { headers: { authorization: `Bearer ${token}` } })).json()).streams[0].name;
      const list = await fragments(world, token, name, Date.now() - 6 * 60e3, Date.now() - 3 * 60e3);
      const { page } = await openCamera(browser, world, `#/camera/${name}?t=${new Date(list[10].start).toISOString()}`);
      await until(page, 'the archive plays', () => document.querySelector('.camera')?.dataset.state === 'archive');
      await pauseIt(page);
      const paused = await position(page);
      await page.keyboard.press('.');
      await until(page, 'one frame on', (at) => { const now = Number(document.querySelector('.timeline-track').dataset.position); return now > at && now < at + 400; }, paused);
      await page.keyboard.press(',');
      await until(page, 'and back', (at) => Math.abs(Number(document.querySelector('.timeline-track').dataset.position) - at) < 60, paused);
      await page.keyboard.press('l');
      await page.keyboard.press('l');
      await page.locator('.rate', { hasText: '2×' }).waitFor();
      const start = await position(page);
      await page.keyboard.press('j');
      await until(page, 'goes backwards', (at) => Number(document.querySelector('.timeline-track').dataset.position) < at - 500, start);
      await page.keyboard.press('k');
      const { span } = await page.locator('.timeline-track').evaluate((element) => ({ span: Number(element.dataset.span) }));
      await page.keyboard.press('+');
      await until(page, 'zoomed in', (span) => Number(document.querySelector('.timeline-track').dataset.span) < span, span);
      for (let n = 0; n < 30; n++) await page.keyboard.press('-');
      await until(page, 'a month is shown', () => Number(document.querySelector('.timeline-track').dataset.span) > 30 * 86400e3);
      for (let n = 0; n < 24; n++) await page.keyboard.press('+');
      await until(page, 'a second is shown', () => Number(document.querySelector('.timeline-track').dataset.span) <= 1000);
      await page.keyboard.press('?');
      await page.locator('dialog', { hasText: 'One frame back' }).waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('g');
      const wanted = list[30].start - (list[30].start % 1000);
      await page.locator('#jump-time').evaluate((input, at) => { input.value = new Date(at - new Date(at).getTimezoneOffset() * 60e3).toISOString().slice(0, 19); }, wanted);
      await page.getByRole('button', { name: 'Go', exact: true }).click();
      await until(page, 'is there', (at) => Math.abs(Number(document.querySelector('.timeline-track').dataset.position) - at) < 6000, wanted);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'camera: times are the viewer’s own, or UTC',
    async run({ world, browser }) {
      const page = await openPage(browser, world, { timezoneId: 'Asia/Tokyo' });
      await signIn(page, world, await world.token());
      const hour = async () => Number((await page.locator('.clock-time').innerText()).slice(0, 2));
      await page.locator('.clock-zone', { hasText: /^(JST|GMT\+9)$/ }).waitFor();
      const local = await hour();
      await page.getByRole('button', { name: /Settings/ }).click();
      await page.getByLabel('UTC').check();
      await page.locator('.clock-zone', { hasText: /^UTC$/ }).waitFor();
      // One more is right where the hour turned in between.
      assert.ok([9, 8].includes((local - (await hour()) + 24) % 24));
    },
  },
  {
    name: 'camera: a link to a moment carries the time and no secret, and opens there',
    async run({ world, browser }) {
      const { page, token, first } = await openCamera(browser, world);
      await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: world.base });
      await page.locator(`${tile(first)} .tile-link`).click();
      const list = await fragments(world, token, first, Date.now() - 5 * 60e3, Date.now() - 4 * 60e3);
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      await landing(page, async () => page.mouse.click(...await placeOf(page, list[5].start + 300)));
      await until(page, 'the archive plays', () => document.querySelector('.camera')?.dataset.state === 'archive');
      await pauseIt(page);
      const shown = await position(page);
      await page.keyboard.press('s');
      await page.locator('.notice', { hasText: 'Link copied' }).waitFor();
      const link = await page.evaluate(() => navigator.clipboard.readText());
      assert.match(link, new RegExp(`^${world.base}/#/camera/${first}\\?t=[0-9TZ:.-]+$`));
      const at = Date.parse(new URLSearchParams(link.split('?')[1]).get('t'));
      assert.ok(Math.abs(at - shown) < 100, 'the link carries the moment that is shown');
      const other = await openPage(browser, world);
      const there = await landing(other, () => signIn(other, world, token, link.slice(world.base.length + 1)));
      assert.equal(there.wanted, at);
      assert.ok(Math.abs(there.reached - at) < 3000, `${there.reached - at} ms from the moment of the link`);
      await framesGrow(other, 'from the link', ['.camera-stage']);
    },
  },
  ...[320, 390].map((width) => ({
    name: `camera: on a telephone of ${width} px the picture can be saved, and its buttons are on the screen`,
    async run({ world, browser }) {
      const page = await openPage(browser, world, { viewport: { width, height: 700 }, hasTouch: true, isMobile: true });
      await signIn(page, world, await world.token());
      await until(page, 'a tile is live', () => document.querySelector('.tile[data-state="live"]') !== null);
      const [name] = await liveTiles(page);
      await page.locator(`${tile(name)} .tile-link`).tap();
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      const off = await page.locator('.controls button').evaluateAll((all) => all.map((one) => [one.getAttribute('aria-label'), one.getBoundingClientRect()]).filter(([, box]) => box.width > 0 && (box.left < 0 || box.right > innerWidth)).map(([label]) => label));
      assert.deepEqual(off, []);
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Save this picture' }).tap()]);
      assert.match(download.suggestedFilename(), new RegExp(`^${name}.*\\.(jpg|png)$`));
      if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/camera-still-${width}.png` });
    },
  })),
];
