// Debian's Chromium under playwright-core, which lives with the page's own dependencies in src/console/web.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(new URL('../../src/console/web/package.json', import.meta.url));
const { chromium } = require('playwright-core');

/** A browser; whoever asks closes it. It talks through a pipe and ends when that breaks, however this program ends. */
export async function launch() {
  try { return await start(); } catch { return start(); }
}

// On a machine with more to do than it can, Chromium has been seen to take twenty seconds to its first word.
const start = () => chromium.launch(options);

/** A browser that keeps what it holds in a folder, as a person's browser does; closing it gives the folder back. */
export async function launchProfile(folder) {
  try { return await chromium.launchPersistentContext(folder, options); } catch { return chromium.launchPersistentContext(folder, options); }
}

const options = {
  timeout: 120_000,
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'],
};

/** axe-core's source, to be run inside a page. */
export const axeSource = () => require('node:fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
export const resolveFromWeb = (name) => require.resolve(name);
export const here = fileURLToPath(new URL('.', import.meta.url));
