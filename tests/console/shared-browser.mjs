// One browser, several people: `node shared-browser.mjs BASE PROFILE` reads from its standard input what one of them may
// have and the others may not, and prints what each of them read, before and after a restart of the browser.
// Input: {"paths": […], "allowed": "JWT", "denied": "JWT"}. Output: a list of {who, when, cache, path, status, bytes}.

import { readFileSync } from 'node:fs';
import { launchProfile } from './browser.mjs';

const [base, profile] = process.argv.slice(2);
const { paths, allowed, denied } = JSON.parse(readFileSync(0, 'utf8'));
const read = [];

/** What a page of the gateway's own origin reads, as somebody with this token or with none. */
async function reads(page, who, when, token, caches) {
  for (const path of paths) {
    for (const cache of caches) {
      const seen = await page.evaluate(async ({ path, token, cache }) => {
        const headers = token ? { authorization: `Bearer ${token}` } : {};
        performance.clearResourceTimings();
        try {
          const answer = await fetch(path, { headers, cache, mode: 'same-origin', credentials: 'include' });
          const body = await answer.arrayBuffer();
          await new Promise((resolve) => { setTimeout(resolve, 50); });
          const transferred = performance.getEntriesByType('resource').at(-1)?.transferSize ?? -1;
          return { status: answer.status, bytes: answer.ok ? body.byteLength : 0, transferred };
        } catch { return { status: 0, bytes: 0, transferred: -1 }; }
      }, { path, token, cache });
      read.push({ who, when, cache, path, ...seen });
    }
  }
}

const careless = ['default', 'force-cache', 'only-if-cached'];
const others = async (page, when) => {
  await reads(page, 'denied', when, denied, careless);
  await reads(page, 'nobody', when, undefined, careless);
};

for (const when of ['before a restart', 'after a restart']) {
  const context = await launchProfile(profile);
  try {
    const page = await context.newPage();
    await page.goto(`${base}/`);
    if (when === 'before a restart') {
      for (let time = 0; time < 3; time += 1) await reads(page, 'allowed', when, allowed, ['default']);
    }
    await others(page, when);
    // What a person typed into the address line is looked up without a script, and so is the way back.
    for (const path of paths.filter((path) => path.includes('snapshot'))) {
      const answer = await page.goto(`${base}${path}`);
      read.push({ who: 'nobody', when, cache: 'address line', path, status: answer.status(), bytes: 0, transferred: -1 });
      await page.goto(`${base}/`);
      const back = await page.goBack();
      read.push({ who: 'nobody', when, cache: 'way back', path, status: back?.status() ?? 0, bytes: 0, transferred: -1 });
      await page.goto(`${base}/`);
    }
  } finally {
    await context.close();
  }
}
console.log(JSON.stringify(read));
