import { describe, expect, it } from 'vitest';
import { Refused, type Api } from '../src/api';
import { Recordings } from '../src/camera/recordings';

/** An API whose every answer is the same refusal, and how often it was asked. */
function refusing(status: number, retryAfter?: number) {
  let asked = 0;
  const api = { fragments: async () => { asked += 1; throw new Refused(status, '', '', retryAfter); } } as unknown as Api;
  return { api, asked: () => asked };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

describe('the list of recordings', () => {
  it('is not asked for again at once when it failed, however often the time line wants it', async () => {
    for (const status of [0, 401, 429, 500, 503]) {
      const { api, asked } = refusing(status, status === 503 ? 60e3 : undefined);
      const recordings = new Recordings(api, () => true, 'cam', 86400e3, true);
      const view = { start: Date.now() - 6 * 3600e3, span: 6 * 3600e3 };
      // The time line draws again on every change, and wants what it lacks.
      recordings.addEventListener('change', () => recordings.cover(view));
      for (let n = 0; n < 20; n++) { recordings.cover(view); await settled(); }
      expect(asked(), `status ${status}`).toBeLessThanOrEqual(3);
      const before = asked();
      recordings.resume();
      await settled();
      expect(asked() - before, 'there is reason to try again').toBeGreaterThan(0);
      recordings.close();
    }
  });

  it('is not asked for while nobody is signed in', async () => {
    const { api, asked } = refusing(401);
    const recordings = new Recordings(api, () => false, 'cam', 86400e3, true);
    recordings.cover({ start: Date.now() - 3600e3, span: 3600e3 });
    await settled();
    expect(asked()).toBe(0);
  });
});
