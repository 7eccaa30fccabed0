// Players in Debian's Chromium: a small server for the page and the players' npm packages, and pages that watch.

import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = fileURLToPath(new URL('.', import.meta.url));
const types = { '.html': 'text/html', '.js': 'text/javascript', '.map': 'application/json', '.css': 'text/css' };

/** Serves the page at `port`: another origin than the gateway's, as an application is. */
export function servePage(port) {
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, 'http://page').pathname);
    const file = path.startsWith('/lib/') ? join(here, 'node_modules', path.slice(5)) : join(here, path);
    if (!['/page.html', '/page.js'].includes(path) && !path.startsWith('/lib/') || !existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' });
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve, reject) => { server.on('error', reject).listen(port, '127.0.0.1', () => resolve({ origin: `http://127.0.0.1:${port}`, stop: () => { server.closeAllConnections(); server.close(); } })); });
}

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--autoplay-policy=no-user-gesture-required', '--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
  ],
});

/** Opens a player; `look()` gives what its witness has seen, `close()` the same for the last time. */
export async function watch({ browser, origin, player, url, trace }) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const refused = [];
  page.on('response', (response) => { if (response.status() >= 400) refused.push({ at: Date.now(), text: `${response.status()} ${response.url().replace(/.*\//, '')}` }); });
  if (trace) {
    page.on('console', (message) => trace(`console ${message.text().slice(0, 400)}`));
    page.on('response', (response) => trace(`${response.status()} ${response.url().replace(/\/v1\/[^/]*/, '/v1/…')}`));
    page.on('requestfailed', (request) => trace(`failed ${request.url().replace(/\/v1\/[^/]*/, '/v1/…')} ${request.failure()?.errorText}`));
  }
  await page.goto(`${origin}/page.html?${new URLSearchParams({ player, url })}`);
  const look = async () => ({ ...(await page.evaluate(() => window.seen)), refused });
  return { page, look, close: async () => { const seen = await look().catch(() => undefined); await context.close(); return seen; } };
}
