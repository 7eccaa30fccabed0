// Screens from 320 to 2560 px, upright and on their side: no control is outside, under another, or cut off.

import assert from 'node:assert/strict';
import { openPage, signIn, until } from '../page.mjs';

const SCREENS = [[320, 640], [390, 844], [667, 375], [721, 900], [768, 1024], [844, 390], [891, 700], [1024, 768], [1440, 900], [2560, 1440]];

/** What is wrong with the controls on the screen, in words. */
const misplaced = () => {
  const wrong = document.documentElement.scrollWidth > innerWidth ? [`the page is ${document.documentElement.scrollWidth} px wide`] : [];
  const controls = [...document.querySelectorAll('button, select, input, a[href], .pill, .clock')]
    // Tiles and the list of cameras scroll; the legend and the canvas of the time line take no clicks of their own.
    .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest('.grid, .skip, .panel'))
    .map((element) => ({ element, box: element.getBoundingClientRect(), name: (element.getAttribute('aria-label') ?? element.textContent).trim() }))
    .filter(({ box }) => box.width > 1 && box.height > 1);
  for (const { name, box } of controls) {
    if (box.left < -0.5 || box.top < -0.5 || box.right > innerWidth + 0.5 || box.bottom > innerHeight + 0.5) wrong.push(`outside: ${name}`);
  }
  controls.forEach((one, nth) => {
    for (const other of controls.slice(nth + 1)) {
      const width = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const height = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (width > 1 && height > 1 && !one.element.contains(other.element)) wrong.push(`overlap: ${one.name} / ${other.name}`);
    }
  });
  return wrong;
};

export const tests = [
  {
    name: 'screens: nothing is outside or hidden from 320 to 2560 px, and the full screen is the picture',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      const errors = [];
      page.on('console', (message) => { if (message.type() === 'error') errors.push(`${message.text()} ${message.location().url}`); });
      await page.goto(world.base);
      await page.locator('#token').waitFor();
      assert.deepEqual(errors, [], 'the sign-in page causes no error in the log of the browser');
      await signIn(page, world, await world.token());
      await until(page, 'a tile is live', () => document.querySelector('.tile[data-state="live"]') !== null);
      const look = async (view) => {
        for (const [width, height] of SCREENS) {
          await page.setViewportSize({ width, height });
          await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
          assert.deepEqual(await page.evaluate(misplaced), [], `${view} at ${width}x${height}`);
        }
      };
      await look('wall');
      await page.evaluate(() => { location.hash = `#/camera/${document.querySelector('.tile[data-state="live"]').dataset.stream}`; });
      await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
      await look('camera');
      await page.keyboard.press('f');
      await until(page, 'the picture fills the screen', () => {
        const box = document.querySelector('.camera-stage').getBoundingClientRect();
        return document.fullscreenElement?.matches('.camera') && box.width === innerWidth && box.height === innerHeight;
      });
      await until(page, 'the controls fade', () => getComputedStyle(document.querySelector('.desk')).opacity === '0');
      await page.mouse.move(300, 300);
      await until(page, 'they come back with the pointer', () => Number(getComputedStyle(document.querySelector('.desk')).opacity) > 0.9);
      await page.evaluate(() => document.exitFullscreen());
      assert.deepEqual(page.wrong, []);
    },
  },
];
