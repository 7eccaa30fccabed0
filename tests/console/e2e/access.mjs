// For everybody: axe-core finds nothing serious on any view, in light and dark, on a desk and on a telephone; and the
// keyboard alone is enough.

import assert from 'node:assert/strict';
import { axeSource } from '../browser.mjs';
import { openPage, seriousFindings, signIn, until } from '../page.mjs';

export const tests = ['light', 'dark', 'phone'].map((look) => ({
  name: `access: axe-core has no serious finding, ${look}`,
  async run({ world, browser }) {
    const axe = axeSource();
    const page = await openPage(browser, world, { colorScheme: look === 'light' ? 'light' : 'dark', ...(look === 'phone' && { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }) });
    const findings = [];
    const look_at = async (what) => findings.push(...(await seriousFindings(page, axe)).map((one) => `${what}: ${one}`));
    await page.goto(world.base);
    await page.locator('#token').waitFor();
    await look_at('sign in');
    await signIn(page, world, await world.token());
    await until(page, 'tiles are live', () => document.querySelectorAll('.tile[data-state="live"]').length >= 1);
    await look_at('wall');
    await page.getByRole('button', { name: /Settings/ }).click();
    await look_at('settings');
    await page.getByRole('button', { name: /Your session/ }).click();
    await look_at('session');
    await page.keyboard.press('Escape');
    await page.locator('.tile[data-state="live"] .tile-link').first().focus();
    await page.keyboard.press('Enter');
    await until(page, 'live', () => document.querySelector('.camera')?.dataset.state === 'live');
    await page.keyboard.press('i');
    await look_at('camera');
    await page.keyboard.press('d');
    await page.locator('.info:not([hidden])').waitFor();
    await look_at('what is going on');
    await page.keyboard.press('?');
    await page.locator('dialog').waitFor();
    await look_at('keys');
    assert.deepEqual(findings, []);
  },
})).concat([{
  name: 'access: the keyboard reaches everything, and where it is can be seen',
  async run({ world, browser }) {
    const page = await openPage(browser, world);
    await signIn(page, world, await world.token());
    await page.locator('.tile').first().waitFor();
    const seen = new Set();
    await page.evaluate(() => document.activeElement?.blur());
    for (let n = 0; n < 40; n++) {
      await page.keyboard.press('Tab');
      const { name, outline } = await page.evaluate(() => {
        const element = document.activeElement;
        const shown = [element, element?.nextElementSibling].some((one) => one instanceof Element && getComputedStyle(one).outlineStyle !== 'none');
        return { name: element?.getAttribute('aria-label') ?? element?.textContent ?? '', outline: element === document.body || shown };
      });
      assert.ok(outline, `the focus on “${name}” can be seen`);
      seen.add(name);
    }
    const all = [...seen].join(' | ');
    for (const wanted of ['Skip to content', 'Find a camera', 'Settings', 'Your session', 'Open ']) assert.ok(all.includes(wanted), `${wanted} in ${all}`);
  },
}]);
