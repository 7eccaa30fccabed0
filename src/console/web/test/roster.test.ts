import { describe, expect, it } from 'vitest';
import type { Stream } from '../src/api';
import { Roster } from '../src/roster';

const stream = (name: string) => ({ name, arn: '', status: null, created: null, retention_hours: null, actions: [] }) as Stream;

/** A gateway with pages of two cameras, which counts what it is asked for. */
function gateway(names: string[]) {
  const asked: (string | undefined)[] = [];
  return { asked, names, streamPage: async (next?: string) => {
    asked.push(next);
    const from = Number(next ?? 0);
    return { streams: names.slice(from, from + 2).map(stream), next: from + 2 < names.length ? String(from + 2) : undefined };
  } };
}
const { signal } = new AbortController();
const nothing = () => undefined;

describe('the list of cameras', () => {
  it('is read as far as it is needed, and once', async () => {
    const pages = gateway(['cam-10', 'cam-2', 'cam-3', 'cam-4', 'cam-5']);
    const roster = new Roster();
    await Promise.all([roster.read(pages, () => true, nothing, signal), roster.read(pages, () => true, nothing, signal)]);
    expect([pages.asked, roster.streams?.map(({ name }) => name), roster.complete]).toEqual([[undefined], ['cam-2', 'cam-10'], false]);
    await roster.read(pages, () => (roster.streams?.length ?? 0) >= 3, nothing, signal);
    expect(roster.streams).toHaveLength(4);
    await roster.read(pages, () => false, nothing, signal);
    expect([pages.asked, roster.streams?.length, roster.complete]).toEqual([[undefined, '2', '4'], 5, true]);
  });

  it('is read again as far as it was', async () => {
    const pages = gateway(['a', 'b', 'c', 'd', 'e']);
    const roster = new Roster();
    await roster.read(pages, () => (roster.streams?.length ?? 0) >= 3, nothing, signal);
    expect(await roster.refresh(pages, signal)).toBe(false);
    pages.names[0] = 'z';
    expect(await roster.refresh(pages, signal)).toBe(true);
    expect([roster.streams?.map(({ name }) => name), roster.complete]).toEqual([['b', 'z', 'c', 'd'], false]);
    pages.names.length = 1;
    expect(await roster.refresh(pages, signal)).toBe(true);
    expect([roster.streams?.length, roster.complete]).toEqual([1, true]);
  });

  it('goes on after a failure', async () => {
    const pages = gateway(['a', 'b', 'c']);
    const roster = new Roster();
    await expect(roster.read({ streamPage: async () => { throw new Error('away'); } }, () => true, nothing, signal)).rejects.toThrow('away');
    await roster.read(pages, () => false, nothing, signal);
    expect(roster.streams).toHaveLength(3);
  });
});
