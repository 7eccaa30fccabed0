// The console, end to end, in Debian's Chromium: `node run.mjs [word…]` runs the tests whose names begin with a word.
// Prints TAP and exits with 1 if a test failed. What it plays against: see world.mjs.

import { launch } from './browser.mjs';
import { makeWorld } from './world.mjs';

const files = ['sign-in.mjs', 'screens.mjs', 'wall.mjs', 'walls.mjs', 'camera.mjs', 'clip.mjs', 'trouble.mjs', 'access.mjs', 'oidc.mjs', 'proxy.mjs', 'crowd.mjs'];
const words = process.argv.slice(2);
const all = (await Promise.all(files.map((file) => import(`./e2e/${file}`)))).flatMap((module) => module.tests);
const chosen = all.filter(({ name }) => words.length === 0 || words.some((word) => name.startsWith(word)));

// Told to end, it ends what it started: the worlds by their own means, Chromium with the pipe between them.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => process.exit(1));
const world = await makeWorld();
let browser = await launch();
console.log(`TAP version 13\n1..${chosen.length}\n# against ${world.kind} at ${world.base}, Chromium ${browser.version()}`);
let failed = 0;
for (const [index, { name, needs = () => true, run }] of chosen.entries()) {
  if (!needs(world)) { console.log(`ok ${index + 1} - ${name} # SKIP not possible against ${world.kind}`); continue; }
  const began = Date.now();
  const say = (line) => console.log(`# ${line}`);
  try {
    await within(240e3, run({ world, browser, say }));
    console.log(`ok ${index + 1} - ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${index + 1} - ${name}\n  ---\n  ${String(error.stack ?? error).replaceAll('\n', '\n  ')}\n  ---`);
    if (process.env.PICTURES) for (const [nth, page] of browser.contexts().flatMap((context) => context.pages()).entries()) await page.screenshot({ path: `${process.env.PICTURES}/failed-${index + 1}-${nth}.png` }).catch(() => undefined);
  }
  // A page that hangs must not take the rest with it.
  try { await within(10e3, Promise.all(browser.contexts().map((context) => context.close()))); } catch {
    await within(10e3, browser.close()).catch(() => undefined);
    browser = await launch();
  }
}
await within(10e3, browser.close()).catch(() => undefined);
await world.stop();
console.log(failed ? `# ${failed} failed` : '# all passed');
process.exit(failed ? 1 : 0);

function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done after ${ms / 1000} s`)), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
