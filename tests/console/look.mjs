// Takes pictures of the page for people to look at: `node look.mjs http://127.0.0.1:8099 TOKEN FOLDER [camera]`.
// Wall and camera, light, dark and on a telephone. The README's pictures come from here.

import { mkdirSync } from 'node:fs';
import { launch } from './browser.mjs';

const [base, token, folder = 'pictures', wanted] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await launch();
const sizes = { desk: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };

for (const [name, scheme, size] of [['dark', 'dark', 'desk'], ['light', 'light', 'desk'], ['phone', 'dark', 'phone']]) {
  const context = await browser.newContext({ viewport: sizes[size], colorScheme: scheme, deviceScaleFactor: size === 'phone' ? 2 : 1, hasTouch: size === 'phone', isMobile: size === 'phone' });
  const page = await context.newPage();
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) console.log(`${name}: ${message.text()}`); });
  page.on('pageerror', (error) => console.log(`${name}: ${error.message}`));
  const shot = (what) => page.screenshot({ path: `${folder}/${what}-${name}.png` });
  await page.goto(base);
  await page.locator('#token').waitFor();
  await shot('sign-in');
  await page.locator('#token').fill(token);
  await page.keyboard.press('Enter');
  await page.locator('.tile').first().waitFor();
  await page.waitForTimeout(6000);
  await shot('wall');
  const camera = wanted ?? await page.locator('.tile').first().getAttribute('data-stream');
  await page.evaluate((camera) => { location.hash = `#/camera/${camera}`; }, camera);
  await page.waitForTimeout(5000);
  await shot('camera-live');
  const track = page.locator('.timeline-track');
  const box = await track.boundingBox();
  const at = (share) => [box.x + box.width * share, box.y + 50];
  const marked = async (share, key) => { await page.mouse.click(...at(share)); await page.waitForTimeout(2500); await page.keyboard.press(key); };
  await marked(0.62, 'i');
  await marked(0.66, 'o');
  await page.waitForTimeout(6000);
  await page.mouse.move(...at(0.78));
  await page.mouse.move(...at(0.785));
  await page.waitForTimeout(2500);
  await shot('camera');
  await page.mouse.move(5, 300);
  await page.keyboard.press('d');
  await page.waitForTimeout(1200);
  await shot('info');
  await context.close();
}
await browser.close();
