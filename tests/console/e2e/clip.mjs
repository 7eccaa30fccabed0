// Clips: marked, described, downloaded over broken connections, and read by ffprobe.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { axeSource } from '../browser.mjs';
import { fragments, openPage, seriousFindings, signIn, until } from '../page.mjs';
import { findGap } from './camera.mjs';

const HOUR = 3600e3;
const iso = (at) => new Date(at).toISOString();

/** Marks of so many seconds in a camera without gaps. `files` says where the browser puts a file: a dialog, or a folder. */
async function withMarks(browser, world, seconds, { files = 'folder', proxy, ...options } = {}) {
  const token = await world.token();
  const gap = await findGap(world, token);
  const { streams } = await (await fetch(`${world.base}/streams`, { headers: { authorization: `Bearer ${token}` } })).json();
  const name = streams.find((stream) => stream.name !== gap?.name && stream.actions.includes('GetClip') && stream.actions.includes('ListFragments')).name;
  const page = await openPage(browser, world, options);
  await page.addInitScript(files === 'dialog' ? dialogOfTheOrigin : () => { delete window.showSaveFilePicker; });
  const end = Date.now() - 60e3;
  const [from, to] = [end - seconds * 1000, end];
  const hash = `#/camera/${name}?in=${iso(from)}&out=${iso(to)}`;
  if (proxy) { await page.context().addCookies([{ name: 'access', value: token, url: world.base }]); await page.goto(`${world.base}/${hash}`); }
  else await signIn(page, world, token, hash);
  return { page, name, from, to, token };
}

/** In place of the dialog, which a browser without a screen cannot show: the same kind of file, in the origin's own folder. */
const dialogOfTheOrigin = () => {
  window.showSaveFilePicker = async ({ suggestedName }) => (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
};

const described = (page) => page.locator('.clip-about', { hasText: 'The file has' }).waitFor({ timeout: 30_000 });
const downloadButton = (page) => page.getByRole('button', { name: 'Download', exact: true });
const saved = (page, timeout = 60_000) => page.locator('.clip-download[data-stage="done"]', { hasText: 'Saved' }).waitFor({ timeout });

/** What the gateway sends to any other client. */
async function byFetch({ base }, { name, from, to, token }, more = '') {
  const answer = await fetch(`${base}/streams/${name}/clip.mp4?start=${iso(Math.floor(from))}&end=${iso(Math.ceil(to))}${more}`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(answer.status, 200);
  const bytes = Buffer.from(await answer.arrayBuffer());
  return { size: bytes.length, sha: createHash('sha256').update(bytes).digest('hex'), range: answer.headers.get('kvs-edge-range') };
}

const digest = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Size and digest of the file that the page wrote where the dialog would have. */
const written = (page) => page.evaluate(async () => {
  const folder = await navigator.storage.getDirectory();
  for await (const handle of folder.values()) {
    const bytes = await (await handle.getFile()).arrayBuffer();
    const sha = [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    return { name: handle.name, size: bytes.byteLength, sha };
  }
  return undefined;
});

export const tests = [
  {
    name: 'clip: says its size and true range, downloads, and ffprobe reads it',
    async run({ world, browser, say }) {
      const marks = await withMarks(browser, world, 30, { timezoneId: 'UTC' });
      const { page, name } = marks;
      await described(page);
      const other = await byFetch(world, marks);
      const about = await page.locator('.clip-about').textContent();
      for (const time of other.range.split('/')) assert.ok(about.includes(time.slice(11, 21)), `${time} in “${about}”`);
      const [download] = await Promise.all([page.waitForEvent('download'), downloadButton(page).click()]);
      assert.match(download.suggestedFilename(), new RegExp(`^${name}_\\d{4}-\\d\\d-\\d\\dT.*Z\\.mp4$`));
      const file = await download.path();
      assert.equal(digest(file), other.sha);
      const probe = JSON.parse(execFileSync('ffprobe', ['-v', 'error', '-show_format', '-show_streams', '-of', 'json', file], { encoding: 'utf8' }));
      assert.ok(probe.streams.some((stream) => stream.codec_type === 'video'));
      assert.ok(Number(probe.format.duration) > 10);
      say(`${download.suggestedFilename()}: ${probe.format.duration} s, ${probe.format.size} bytes; “${about}”`);
      await saved(page);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'clip: the format is a choice, and the beginning may be exact',
    async run({ world, browser }) {
      const marks = await withMarks(browser, world, 3 * 3600);
      const { page } = marks;
      const asked = [];
      page.on('request', (request) => { if (request.method() === 'HEAD') asked.push(request.url()); });
      await described(page);
      await page.getByRole('checkbox', { name: 'Exact beginning' }).focus();
      await page.keyboard.press(' ');
      await page.locator('.clip-about', { hasText: 'players begin at' }).waitFor();
      assert.ok(asked.at(-1).includes('trim=exact'));
      const format = page.getByRole('combobox', { name: 'Format' });
      await format.selectOption({ label: 'MKV (advanced)' });
      await described(page);
      assert.ok(asked.at(-1).includes('/clip.mkv?') && !asked.at(-1).includes('trim'));
      assert.ok(await page.getByRole('checkbox', { name: 'Exact beginning' }).isDisabled());
      await format.selectOption({ label: 'MP4 for Windows and QuickTime' });
      await page.locator('.clip-warning', { hasText: '2 hours at most' }).waitFor();
      assert.ok(await downloadButton(page).isDisabled());
      await page.getByRole('button', { name: 'Clear marks' }).click();
      await page.locator('.clip-range', { hasText: 'Mark a beginning and an end' }).waitFor();
      await page.keyboard.press('i');
      await page.locator('.clip-range', { hasText: '– …' }).waitFor();
      await downloadButton(page).waitFor({ state: 'hidden' });
      assert.ok(asked.every((url) => !url.includes('token')), 'no token in an address');
    },
  },
  {
    name: 'stand-in: a clip goes on where a broken connection left it, and is the file of any other client',
    needs: ({ kind }) => kind === 'mock',
    async run({ world, browser, say }) {
      const marks = await withMarks(browser, world, 1800, { files: 'dialog' });
      const { page } = marks;
      await described(page);
      const ranges = [];
      page.on('request', (request) => { if (request.method() === 'GET' && request.url().includes('/clip.mp4')) ranges.push(request.headers().range ?? 'whole'); });
      await world.fault('path=clip.mp4&after=4000000&times=2');
      await downloadButton(page).click();
      await page.locator('.clip-download', { hasText: 'Connection lost' }).waitFor();
      await saved(page);
      const [file, other] = [await written(page), await byFetch(world, marks)];
      assert.deepEqual([file.size, file.sha], [other.size, other.sha]);
      assert.equal(ranges.length, 3);
      assert.ok(ranges[0] === 'whole' && ranges.slice(1).every((range) => /^bytes=\d{7,}-$/.test(range)), String(ranges));
      say(`${file.name}, ${file.size} bytes, by ${ranges.join(', ')}`);
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'clip: goes on after a restart of the gateway, and while another camera is looked at',
    needs: ({ restart }) => !!restart,
    async run({ world, browser, say }) {
      // The demo ends what is under way before it stops, so the file is one that outlasts that.
      const marks = await withMarks(browser, world, (world.kind === 'mock' ? 1 : 4) * 3600, { files: 'dialog' });
      const { page } = marks;
      await described(page);
      await downloadButton(page).click();
      await page.locator('.clip-download[data-stage="loading"]').waitFor();
      const ranges = [];
      page.on('request', (request) => { if (request.method() === 'GET' && request.url().includes('/clip.mp4')) ranges.push(request.headers().range ?? 'whole'); });
      await world.restart(async () => undefined);
      await page.evaluate(() => { location.hash = '#/'; });
      await page.locator('.tile').first().waitFor();
      await page.evaluate((name) => { location.hash = `#/camera/${name}`; }, marks.name);
      await saved(page, 150_000);
      const [file, other] = [await written(page), await byFetch(world, marks)];
      assert.deepEqual([file.size, file.sha], [other.size, other.sha]);
      assert.ok(ranges.every((range) => range.startsWith('bytes=')), String(ranges));
      say(`${file.size} bytes; after the restart by ${ranges.join(', ')}`);
    },
  },
  {
    name: 'clip: is the browser’s own download where the browser itself signs in',
    needs: ({ proxy }) => !!proxy,
    async run({ world, browser }) {
      await world.proxy('access-token', 'access');
      const marks = await withMarks(browser, world, 60, { proxy: true });
      const { page } = marks;
      await described(page);
      const [download] = await Promise.all([page.waitForEvent('download'), downloadButton(page).click()]);
      assert.ok(download.url().startsWith(`${world.base}/streams/`));
      assert.equal(digest(await download.path()), (await byFetch(world, marks)).sha);
      await page.locator('.notice', { hasText: 'Your browser downloads' }).waitFor();
      assert.deepEqual(page.wrong, []);
    },
  },
  {
    name: 'stand-in: a clip can be cancelled, and says what stands in the way',
    needs: ({ kind }) => kind === 'mock',
    async run({ world, browser }) {
      const token = await world.token();
      const page = await openPage(browser, world, { timezoneId: 'UTC' });
      await page.addInitScript(dialogOfTheOrigin);
      const now = Date.now();
      await signIn(page, world, token, `#/camera/gate-west?in=${iso(now - 6 * 60e3)}&out=${iso(now - 5 * 60e3)}`);
      await page.locator('.clip-warning', { hasText: /Nothing is recorded between the marks\. The nearest recording ends at \d\d:\d\d:\d\d\.\d\./ }).waitFor();
      await page.goto(`${world.base}/#/`);
      await world.fault('path=clip.mp4&status=503&times=2');
      const marks = await withMarks(browser, world, 12 * 3600, { files: 'dialog' });
      await marks.page.locator('.clip-warning', { hasText: 'Trying again in' }).waitFor();
      await described(marks.page);
      await world.fault('path=clip.mp4&status=503&times=3');
      await downloadButton(marks.page).click();
      await marks.page.locator('.clip-download', { hasText: 'Connection lost' }).waitFor();
      assert.deepEqual(await seriousFindings(marks.page, axeSource()), []);
      await marks.page.getByRole('button', { name: 'Cancel' }).click();
      await marks.page.locator('.clip-download', { hasText: 'cancelled' }).waitFor();
      assert.equal(await written(marks.page), undefined);
      await until(marks.page, 'another download may begin', () => !document.querySelector('.clip .button.primary').disabled);
      await marks.page.getByRole('button', { name: 'Close' }).click();
      await marks.page.locator('.clip-download').waitFor({ state: 'hidden' });
    },
  },
  {
    name: 'clip: a file that memory cannot hold is refused with words, and fits into every window',
    async run({ world, browser }) {
      // The demo's cameras have a fragment every 0.9 s, and a clip has at most 65,535.
      const hours = world.kind === 'mock' ? 23.9 : 12;
      const { page } = await withMarks(browser, world, hours * 3600, { viewport: { width: 320, height: 700 } });
      await described(page);
      if (world.kind === 'mock') {
        await page.route('**/clip.mp4?*', async (route) => route.fulfill({ status: 200, headers: { 'content-type': 'video/mp4', 'content-length': '3000000000', 'kvs-edge-range': `${iso(Date.now() - 3 * HOUR)}/${iso(Date.now() - HOUR)}` }, body: '' }));
        await page.getByRole('checkbox', { name: 'Exact beginning' }).check();
        await page.locator('.clip-warning', { hasText: 'is more than 1.0 GB' }).waitFor();
        assert.ok(await downloadButton(page).isDisabled());
      }
      for (const width of [320, 390, 720, 1024, 1440, 2560]) {
        await page.setViewportSize({ width, height: 800 });
        const wide = await page.evaluate(() => [...document.querySelectorAll('.clip, .clip *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.matches('option, .hidden-title')).map((one) => one.className));
        assert.deepEqual(wide, [], `at ${width} px`);
      }
      assert.deepEqual(await seriousFindings(page, axeSource()), []);
    },
  },
];
