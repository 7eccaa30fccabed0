// What a person does with the page and what he sees on it, in words that the tests read well with.

import assert from 'node:assert/strict';

/** A page that watches itself: errors, violations of the content security policy, and requests to elsewhere. */
export async function openPage(browser, world, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 860 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.wrong = [];
  page.elsewhere = new Set();
  page.on('pageerror', (error) => page.wrong.push(`error: ${error.message}`));
  page.on('console', (message) => { if (/content security policy|trusted ?type/i.test(message.text())) page.wrong.push(message.text()); });
  page.on('request', (request) => { const { origin, protocol } = new URL(request.url()); if (/^http/.test(protocol) && origin !== world.base) page.elsewhere.add(origin); });
  return page;
}

export async function signIn(page, world, token, hash = '') {
  await page.goto(`${world.base}/${hash}`);
  await page.locator('#token').fill(token);
  await page.getByRole('button', { name: 'Continue' }).click();
}

/** Pauses, and waits until the picture stands. */
export async function pauseIt(page) {
  await page.keyboard.press(' ');
  await page.getByRole('button', { name: 'Play', exact: true }).waitFor();
  // On a busy machine the picture moves on a little after the video says that it is paused.
  await page.waitForFunction(() => {
    const video = document.querySelector('.camera-stage video');
    const stood = video.paused && !video.seeking && window.stoodAt === video.currentTime;
    window.stoodAt = video.currentTime;
    return stood;
  }, undefined, { polling: 200 });
}

/**
 * Does something that leads to another moment and waits until its picture is there. Tells what was wanted and what was
 * reached, which on a busy machine may lie further back than what is shown when somebody gets to look.
 */
export async function landing(page, act) {
  await page.evaluate(() => performance.clearMarks('landed'));
  await act();
  const mark = await until(page, 'a picture of the wanted moment', () => performance.getEntriesByName('landed')[0]?.detail, undefined, 60_000);
  return mark.jsonValue();
}

/** Waits for a condition in the page and says which one if it does not come. */
export async function until(page, what, condition, argument, timeout = 30_000) {
  try { return await page.waitForFunction(condition, argument, { timeout, polling: 100 }); } catch (error) {
    if (!/Timeout/.test(error.message)) throw error;
    const states = await page.locator('[data-state]').evaluateAll((all) => all.map((element) => `${element.getAttribute('aria-label')}: ${element.getAttribute('data-state')} ${element.querySelector('.tile-words, .stage-words')?.textContent ?? ''}`)).catch(() => []);
    assert.fail(`${what}: not within ${timeout / 1000} s (${states.join('; ')})`);
  }
}

/** Frames decoded by the video of each tile (or of the stage) so far. */
export const frames = (page) => page.locator('video').evaluateAll((all) => all.map((video) => video.getVideoPlaybackQuality().totalVideoFrames));

/** Waits until the video of these tiles has decoded more frames than before. */
export async function framesGrow(page, what, selectors, timeout) {
  for (const selector of selectors) {
    await until(page, `${what}: frames of ${selector} grow`, (selector) => {
      const video = document.querySelector(`${selector} video`);
      if (!video) return false;
      const now = video.getVideoPlaybackQuality().totalVideoFrames;
      const marks = (window.marks ??= {});
      marks[selector] ??= now;
      if (now < marks[selector]) marks[selector] = now;
      return now >= marks[selector] + 12;
    }, selector, timeout);
    await page.evaluate((selector) => { delete window.marks[selector]; }, selector);
  }
}

export const tile = (name) => `.tile[data-stream="${name}"]`;
export const liveTiles = (page) => page.locator('.tile[data-state="live"]').evaluateAll((all) => all.map((one) => one.dataset.stream));

/** Runs in a page of ours: plays a stream with hls.js and nothing else, and tells after how many ms it showed a picture. */
export const alone = async ([token, name]) => {
  const chunk = performance.getEntriesByType('resource').map((entry) => entry.name).find((name) => /\/console\/hls-[^/]*\.js$/.test(name));
  const { default: Hls } = await import(chunk);
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  const began = performance.now();
  const answer = await fetch('/getHLSStreamingSessionURL', { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ StreamName: name, DisplayFragmentTimestamp: 'ALWAYS', DiscontinuityMode: 'ON_DISCONTINUITY', MaxMediaPlaylistFragmentResults: 5, Expires: 43200 }) });
  const { HLSStreamingSessionURL: url } = await answer.json();
  const hls = new Hls({ enableWorker: false });
  hls.attachMedia(video);
  hls.loadSource(new URL(url).pathname);
  void video.play();
  const ms = await new Promise((resolve) => video.requestVideoFrameCallback(() => resolve(performance.now() - began)));
  hls.destroy();
  video.remove();
  return ms;
};

/** Where a moment is on the time line, in px of the window. */
export async function placeOf(page, at) {
  const track = page.locator('.timeline-track[data-span]');
  const box = await track.boundingBox();
  const { start, span } = await track.evaluate((element) => ({ start: Number(element.dataset.start), span: Number(element.dataset.span) }));
  const share = (at - start) / span;
  assert.ok(share > 0 && share < 1, 'the moment is in view');
  return [box.x + box.width * share, box.y + box.height * 0.6];
}

/** When the shown picture was, as the page says. */
export const position = (page) => page.locator('.timeline-track').evaluate((element) => Number(element.dataset.position));

/** The fragments of a stream between two times, from the gateway. */
export async function fragments(world, token, name, start, end) {
  const query = new URLSearchParams({ start: new Date(start).toISOString(), end: new Date(end).toISOString() });
  const answer = await fetch(`${world.base}/streams/${name}/fragments?${query}`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(answer.status, 200);
  return (await answer.json()).fragments.map((row) => ({ start: Date.parse(row.server_start), length: row.length_ms, bytes: row.bytes }));
}

/** Findings of axe-core that are serious or worse. */
export async function seriousFindings(page, source) {
  // The page's own policy forbids scripts from elsewhere; a test's script comes in by the debugger, which is above it.
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => `${one.id}: ${one.help} (${one.nodes.map((node) => node.target.join(' ')).slice(0, 4).join(', ')})`);
}
