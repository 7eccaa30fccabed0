// Walls of the viewer's own: favourites, named walls in an order, their file, the address that shows one, the carousel.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { axeSource } from '../browser.mjs';
import { openPage, seriousFindings, signIn, tile, until } from '../page.mjs';
import { makeWorld } from '../world.mjs';

const order = (page) => page.locator('.tile').evaluateAll((all) => all.map((one) => one.dataset.stream));
const openMenu = (page) => page.getByRole('button', { name: /^Walls:/ }).click();
const choose = async (page, name) => { await openMenu(page); await page.getByRole('radio', { name, exact: true }).check(); await page.keyboard.press('Escape'); };
const isOrder = (page, what, names) => until(page, what, (names) => [...document.querySelectorAll('.tile')].map((one) => one.dataset.stream).join() === names.join(), names);

/** Makes a wall of cameras in an order through the dialog. */
async function makeWall(page, name, cameras) {
  await openMenu(page);
  await page.getByRole('button', { name: 'New wall' }).click();
  const box = page.locator('dialog');
  await box.getByLabel('Name', { exact: true }).fill(name);
  for (const camera of cameras) {
    await box.getByRole('searchbox').fill(camera);
    await box.getByRole('checkbox', { name: camera, exact: true }).check();
  }
  return box;
}

export const tests = [
  {
    name: 'walls: favourites and a named wall stay in the browser, in their order, and for this user only',
    needs: (world) => world.kind !== 'given',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token('alice'));
      await page.locator('.tile').nth(2).waitFor();
      const [first, second, third] = await order(page);
      for (const name of [third, first]) await page.getByRole('button', { name: `Favourite: ${name}`, exact: true }).click();
      await choose(page, 'Favourites');
      await isOrder(page, 'favourites in the order of their stars', [third, first]);
      assert.match(page.url(), /#\/\?wall=favourites$/);

      const box = await makeWall(page, 'Night desk', [second, first, third]);
      await box.getByRole('button', { name: `Move ${third} up` }).click();
      await box.getByRole('button', { name: `Take ${first} off this wall` }).click();
      assert.deepEqual(await seriousFindings(page, axeSource()), []);
      await box.getByRole('button', { name: 'Save' }).click();
      await isOrder(page, 'the wall as it was made', [second, third]);
      assert.match(page.url(), /wall=Night%20desk/);

      await openMenu(page);
      await page.getByRole('button', { name: 'New wall' }).click();
      await page.locator('dialog').getByLabel('Name', { exact: true }).fill('Night desk');
      await page.locator('dialog').getByRole('button', { name: 'Save' }).click();
      await page.getByText('There is a wall “Night desk” already.').waitFor();
      await page.keyboard.press('Escape');

      await page.reload();
      await page.locator('#token').fill(await world.token('alice'));
      await page.getByRole('button', { name: 'Continue' }).click();
      await isOrder(page, 'the wall after a reload', [second, third]);
      await page.reload();
      await page.locator('#token').fill(await world.token('vera'));
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.getByRole('heading', { name: 'This browser knows no wall “Night desk”' }).waitFor();
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'walls: their file brings them to another browser, and a file of something else is refused in words',
    async run({ world, browser }) {
      const page = await openPage(browser, world);
      await signIn(page, world, await world.token());
      await page.locator('.tile').nth(1).waitFor();
      const [first, second] = await order(page);
      await page.getByRole('button', { name: `Favourite: ${second}`, exact: true }).click();
      await (await makeWall(page, 'Dock', [second, first])).getByRole('button', { name: 'Save' }).click();
      await openMenu(page);
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export' }).click()]);
      const file = readFileSync(await download.path(), 'utf8');
      assert.deepEqual(JSON.parse(file), { kind: 'kvs-edge walls', version: 1, favourites: [second], walls: [{ name: 'Dock', cameras: [second, first] }] });

      const other = await openPage(browser, world);
      await signIn(other, world, await world.token());
      await other.locator('.tile').nth(1).waitFor();
      await openMenu(other);
      const upload = (name, text) => other.locator('input[type=file]').setInputFiles({ name, mimeType: 'application/json', buffer: Buffer.from(text) });
      await upload('other.json', '{"walls":[]}');
      await other.getByText('other.json holds no walls of kvs-edge.').waitFor();
      await upload('walls.json', file);
      await other.getByText('Imported: 1 wall, 1 favourite').waitFor();
      await other.getByRole('radio', { name: 'Dock' }).check();
      await isOrder(other, 'the wall in the other browser', [second, first]);
    },
  },
  {
    name: 'walls: a link shows cameras, layout and page in a browser that does not know the wall, and pages turn',
    async run({ world, browser }) {
      const page = await openPage(browser, world, { permissions: ['clipboard-read', 'clipboard-write'] });
      await signIn(page, world, await world.token());
      await page.locator('.tile').nth(2).waitFor();
      const [first, second, third] = await order(page);
      await (await makeWall(page, 'Kiosk', [third, second, first])).getByRole('button', { name: 'Save' }).click();
      await page.getByRole('combobox', { name: 'Tiles' }).selectOption('1');
      await page.getByRole('button', { name: 'Next cameras' }).click();
      await isOrder(page, 'the second page', [second]);
      await openMenu(page);
      await page.getByRole('button', { name: 'Copy link' }).click();
      await page.getByText('Link copied.').waitFor();
      const link = await page.evaluate(() => navigator.clipboard.readText());
      assert.equal(new URL(link).hash, `#/?wall=Kiosk&tiles=1&page=2&cameras=${third},${second},${first}`);

      const kiosk = await openPage(browser, world);
      await signIn(kiosk, world, await world.token(), `${new URL(link).hash}&every=5`);
      await isOrder(kiosk, 'the linked page', [second]);
      await isOrder(kiosk, 'the carousel turned to the third', [first]);
      await isOrder(kiosk, 'and to the first', [third]);
      assert.match(kiosk.url(), /every=5/);
      // While somebody works with the menu, the page stays; there the carousel ends.
      await openMenu(kiosk);
      await kiosk.getByRole('combobox', { name: 'Turn pages' }).selectOption('0');
      assert.doesNotMatch(kiosk.url(), /every=/);
      assert.equal(await kiosk.evaluate(() => localStorage.getItem('kvs-edge.preferences')), null);
      // From a camera the way back leads to the wall as it was.
      await kiosk.keyboard.press('Escape');
      const left = await order(kiosk);
      await kiosk.locator('.tile-link').first().click();
      await kiosk.locator('.camera').waitFor();
      await kiosk.evaluate(() => { location.hash = '#/'; });
      await isOrder(kiosk, 'the wall again', left);
    },
  },
  ...[['light', 320, 640], ['dark', 390, 844], ['light', 1440, 900]].map(([colorScheme, width, height]) => ({
    name: `walls: menu, dialog and the list of cameras fit ${width} px and have no serious finding, ${colorScheme}`,
    async run({ world, browser }) {
      const axe = axeSource();
      const page = await openPage(browser, world, { colorScheme, viewport: { width, height } });
      await signIn(page, world, await world.token());
      await page.locator('.tile').nth(1).waitFor();
      const [first, second] = await order(page);
      await page.getByRole('button', { name: `Favourite: ${first}`, exact: true }).click();
      const shot = async (what) => { if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/walls-${what}-${width}-${colorScheme}.png` }); };
      const fits = async (what, selector) => {
        const boxes = await page.locator(selector).evaluateAll((all) => all.map((one) => [one.className, one.getBoundingClientRect()]).filter(([, box]) => box.width > 0 && (box.left < 0 || box.right > innerWidth + 0.5 || box.top < 0 || box.bottom > innerHeight + 0.5)).map(([name]) => name));
        assert.deepEqual(boxes, [], `${what}: off the screen`);
        assert.deepEqual(await seriousFindings(page, axe), [], what);
        await shot(what);
      };
      await fits('wall', '.bar *');
      await openMenu(page);
      await fits('menu', '.walls-panel, .bar button');
      await page.keyboard.press('Escape');
      await makeWall(page, 'Dock', [second, first]);
      await fits('dialog', 'dialog, dialog .wall-columns');
      await page.keyboard.press('Escape');
      await page.evaluate((name) => { location.hash = `#/camera/${name}`; }, first);
      await page.locator('.camera-switch').click();
      await page.locator('.switch-list a').first().waitFor();
      await fits('switch', '.switch-panel, .camera-switch');
      // Search, and the arrow keys or Enter, lead to another camera.
      await page.keyboard.type(second);
      await page.keyboard.press('ArrowDown');
      assert.equal(await page.evaluate(() => document.activeElement.textContent), second);
      await page.keyboard.press('ArrowUp');
      await page.keyboard.press('Enter');
      await page.locator('.camera-switch', { hasText: second }).waitFor();
      assert.equal(await page.locator('.switch-panel:visible').count(), 0);
    },
  })),
  {
    name: 'stand-in: of sixty-four tiles sixteen move and the others show stills',
    async run({ browser }) {
      const world = await makeWorld({ cameras: 30, extra: false });
      try {
        const page = await openPage(browser, world);
        await page.addInitScript(() => localStorage.setItem('kvs-edge.preferences', '{"tiles":64}'));
        await signIn(page, world, await world.token());
        await until(page, 'sixteen move', () => document.querySelectorAll('.tile[data-first-picture-ms]').length === 16, undefined, 120_000);
        await until(page, 'the others show stills', () => [...document.querySelectorAll('.tile[data-state="stills"]')].filter((one) => one.querySelector('img.still:not([hidden])')).length === 17, undefined, 60_000);
        assert.equal(await page.locator('.tile').count(), 33);
        if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/walls-many.png` });
        // Fewer at once: those that showed stills move.
        const still = await page.locator('.tile[data-state="stills"]').first().getAttribute('data-stream');
        await page.locator('.search-field').fill(still);
        await until(page, 'it moves', (selector) => document.querySelector(selector)?.dataset.firstPictureMs !== undefined, tile(still));
      } finally { await world.stop(); }
    },
  },
  {
    name: 'stand-in: of ten thousand cameras the page lists those that are seen, and finds all',
    async run({ browser, say }) {
      const first = {};
      for (const cameras of [100, 10_000]) {
        const world = await makeWorld({ cameras, extra: false });
        try {
          const page = await openPage(browser, world);
          const lists = [];
          page.on('request', (request) => { const url = new URL(request.url()); if (url.pathname === '/streams') lists.push(url.search); });
          const began = Date.now();
          await signIn(page, world, await world.token());
          await page.locator('.tile').nth(8).waitFor();
          first[cameras] = Date.now() - began;
          if (cameras === 100) { await page.getByText('103 cameras', { exact: true }).waitFor(); continue; }
          await page.getByText('1,000+ cameras', { exact: true }).waitFor();
          assert.ok(lists.length <= 2 && lists.every((search) => search === ''), `only the first page was asked for: ${lists}`);
          await page.locator('.search-field').fill('cam-9876');
          await page.locator(tile('cam-9876')).waitFor();
          await page.getByText('1 of 10003 cameras', { exact: true }).waitFor();
          await page.locator('.search-field').fill('');
          const box = await makeWall(page, 'Far', ['cam-9999', 'cam-5000']);
          await box.getByRole('searchbox').fill('');
          await box.getByText('9,803 more cameras: search to narrow the list.').waitFor();
          await box.getByRole('button', { name: 'Save' }).click();
          await isOrder(page, 'cameras from far down the list', ['cam-9999', 'cam-5000']);
          const before = lists.length;
          await page.evaluate(() => { location.hash = '#/camera/cam-5000'; });
          await page.locator('.camera-switch').click();
          await page.getByText('Search finds more cameras.').waitFor();
          assert.equal(lists.length, before + 1, 'the list of cameras is read by its first page');
          await page.keyboard.type('9999');
          await page.getByRole('link', { name: 'cam-9999', exact: true }).click();
          await page.locator('.camera-switch', { hasText: 'cam-9999' }).waitFor();
          assert.deepEqual(page.wrong, []);
        } finally { await world.stop(); }
      }
      say(`nine tiles after signing in: ${first[100]} ms with 100 cameras, ${first[10_000]} ms with 10,000`);
    },
  },
];
