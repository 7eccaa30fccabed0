// Clips: marked, estimated, downloaded, and read by ffprobe.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { fragments, openPage, signIn, until } from '../page.mjs';
import { findGap } from './camera.mjs';

async function withMarks(browser, world, seconds) {
  const token = await world.token();
  const gap = await findGap(world, token);
  const { streams } = await (await fetch(`${world.base}/streams`, { headers: { authorization: `Bearer ${token}` } })).json();
  const name = streams.find((stream) => stream.name !== gap?.name && stream.actions.includes('GetClip') && stream.actions.includes('ListFragments')).name;
  const end = Date.now() - 60e3;
  const list = await fragments(world, token, name, end - seconds * 1000, end);
  const page = await openPage(browser, world);
  const iso = (at) => new Date(at).toISOString();
  await signIn(page, world, token, `#/camera/${name}?in=${iso(list[0].start)}&out=${iso(list.at(-1).start)}`);
  await page.locator('.clip-row', { hasText: 'fragments' }).waitFor({ timeout: 20_000 });
  return { page, list, name };
}

export const tests = [
  {
    name: 'clip: between two marks, with an estimate, and ffprobe reads it',
    async run({ world, browser, say }) {
      const { page, list, name } = await withMarks(browser, world, 30);
      const row = await page.locator('.clip-row').textContent();
      assert.match(row, new RegExp(`${list.length} fragments`));
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download clip' }).click()]);
      assert.match(download.suggestedFilename(), new RegExp(`^${name}_\\d{4}-\\d\\d-\\d\\dT.*\\.mp4$`));
      const probe = JSON.parse(execFileSync('ffprobe', ['-v', 'error', '-show_format', '-show_streams', '-of', 'json', await download.path()], { encoding: 'utf8' }));
      assert.ok(probe.streams.some((stream) => stream.codec_type === 'video'));
      assert.ok(Number(probe.format.duration) > 10);
      say(`${download.suggestedFilename()}: ${probe.format.duration} s, ${probe.format.size} bytes`);
      await page.locator('.clip-row', { hasText: 'Saved as' }).waitFor();
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'clip: above 200 fragments it says where KVS would cut, and offers parts',
    async run({ world, browser }) {
      const { page } = await withMarks(browser, world, 600);
      await page.locator('.clip-warning', { hasText: 'at most 100 MB or 200 fragments' }).waitFor();
      await page.getByRole('button', { name: /Download \d parts/ }).waitFor();
      await page.getByRole('button', { name: 'Download anyway, cut short' }).waitFor();
      await page.getByRole('button', { name: 'Clear marks' }).click();
      await page.locator('.clip-range', { hasText: 'Mark a beginning and an end' }).waitFor();
      await page.keyboard.press('i');
      await page.locator('.clip-range', { hasText: '– …' }).waitFor();
      await until(page, 'no download without an end', () => [...document.querySelectorAll('.clip .button.primary')].every((button) => button.disabled));
    },
  },
];
