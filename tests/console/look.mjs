// Takes the pictures of docs/pictures, which the README shows: `KVS_EDGE=target/debug/kvs-edge node look.mjs [folder]`.
// The real demo, one camera with a gap and on the telephone one silent; wall and camera, light, dark, on a telephone.
// Look at them afterwards. With PNG=1 they stay PNG, and there are more of them than the README needs.

import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { here, launch } from './browser.mjs';
import { landing, openPage, placeOf, signIn, tile, until } from './page.mjs';
import { makeWorld, pause } from './world.mjs';

const folder = process.argv[2] ?? join(here, '../../docs/pictures');
const README = ['wall-dark', 'wall-light', 'wall-phone', 'camera-dark', 'camera-light', 'camera-phone', 'overlay-phone'];
const [SILENT, GAPPED] = ['cam-3', 'cam-2'];
mkdirSync(folder, { recursive: true });
const world = await makeWorld();
const browser = await launch();
const desk = { viewport: { width: 1280, height: 800 } };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

for (const [look, options] of [['dark', desk], ['light', desk], ['phone', phone]]) {
  const page = await openPage(browser, world, { ...options, colorScheme: look === 'light' ? 'light' : 'dark' });
  const shot = async (what) => {
    if (!process.env.PNG && !README.includes(`${what}-${look}`)) return;
    const picture = join(folder, `${what}-${look}`);
    await page.screenshot({ path: `${picture}.png` });
    if (process.env.PNG) return;
    execFileSync('ffmpeg', ['-v', 'error', '-y', '-i', `${picture}.png`, '-c:v', 'libwebp', '-quality', '84', '-compression_level', '6', `${picture}.webp`]);
    rmSync(`${picture}.png`);
  };
  await page.goto(world.base);
  await page.locator('#token').waitFor();
  await shot('sign-in');
  await signIn(page, world, await world.token());
  await until(page, 'the wall is live', () => document.querySelectorAll('.tile[data-state="live"]').length === 3, undefined, 60_000);
  if (look === 'phone') {
    await world.silence(SILENT, true);
    await page.locator(`${tile(SILENT)} .tile-words`, { hasText: 'No signal since' }).waitFor({ timeout: 90_000 });
  } else {
    // Three in a row, as on a wide screen.
    await page.setViewportSize({ width: 1280, height: 372 });
    await page.mouse.move(640, 365);
  }
  await pause(1500);
  await shot('wall');
  if (look !== 'phone') await page.setViewportSize(desk.viewport);

  await page.evaluate((name) => { location.hash = `#/camera/${name}`; }, GAPPED);
  await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
  const now = Date.now();
  await until(page, 'the time line is there', () => document.querySelector('.timeline-track[data-span]'));
  const mark = async (ago, key) => { await landing(page, async () => (look === 'phone' ? page.touchscreen.tap(...await placeOf(page, now - ago)) : page.mouse.click(...await placeOf(page, now - ago)))); await page.keyboard.press(key); };
  await mark(8 * 60e3, 'i');
  await mark(5 * 60e3, 'o');
  await page.locator('.clip-about', { hasText: 'The file has' }).waitFor();
  await until(page, 'it plays', () => document.querySelector('.camera')?.dataset.state === 'archive');
  await page.evaluate(() => document.activeElement?.blur());
  await until(page, 'no notice is left', () => document.querySelector('.notice') === null);
  if (look !== 'phone') {
    const [x, y] = await placeOf(page, now - 22 * 60e3);
    await page.mouse.move(x - 2, y);
    await page.mouse.move(x, y);
    await until(page, 'a thumbnail', () => document.querySelector('.thumb:not([hidden]) img:not([hidden])')?.naturalWidth > 0);
  }
  await pause(500);
  await shot('camera');
  await page.mouse.move(5, 300);
  await page.keyboard.press('d');
  await pause(1500);
  await shot('overlay');
  await page.context().close();
}
await browser.close();
await world.stop();
process.exit(0);
