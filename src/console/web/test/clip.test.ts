import { describe, expect, it } from 'vitest';
import { Refused } from '../src/api';
import { problemOf, unfit } from '../src/camera/clip-words';
import { gapsInside, type Piece } from '../src/camera/coverage';
import { text } from '../src/text';

const T = Date.parse('2026-03-10T12:00:00Z');
const HOUR = 3600e3;
const words = text.clip;
const list = (n: number, skip: (k: number) => boolean = () => false): Piece[] =>
  Array.from({ length: n }, (_, k) => ({ start: T + k * 2000, length: 1900, bytes: 1000 })).filter((_, k) => !skip(k));

describe('marks', () => {
  it('fit a day, and two hours for Windows and QuickTime', () => {
    expect(unfit(T, T + 24 * HOUR, 'mp4', T + 25 * HOUR)).toBeUndefined();
    expect(unfit(T, T + 24 * HOUR + 1, 'mkv', T + 25 * HOUR)).toBe(words.tooLong);
    expect(unfit(T, T + 2 * HOUR, 'plain', T + 25 * HOUR)).toBeUndefined();
    expect(unfit(T, T + 2 * HOUR + 1, 'plain', T + 25 * HOUR)).toBe(words.plainTooLong);
    expect(unfit(T, T + HOUR, 'mp4', T)).toBe(words.inFuture);
  });

  it('count the gaps between them, and none where nothing is missing', () => {
    expect(gapsInside(list(40, (k) => k >= 10 && k < 20), T, T + 78_000)).toEqual([{ from: T + 20_000, to: T + 40_000 }]);
    expect(gapsInside(list(40), T + 500, T + 70_000)).toEqual([]);
  });
});

describe('a refused clip', () => {
  const say = (status: number, message: string) => problemOf(new Refused(status, '', message), T, 'utc');

  it('names the nearest footage in the viewer’s zone', () => {
    const nothing = 'nothing is recorded of cam-1 from 2026-03-10T12:00:00.000Z to 2026-03-10T13:00:00.000Z';
    expect(say(404, `${nothing}; the nearest footage ends at 2026-03-10T11:30:00.250Z and begins at 2026-03-10T13:10:00.900Z`)).toBe(words.nearest('11:30:00.2', '13:10:00.9'));
    expect(say(404, `${nothing}; the nearest footage begins at 2026-03-11T13:10:00.000Z`)).toBe(words.nearest(undefined, '11 Mar, 13:10:00.0'));
    expect(say(404, `${nothing}; /streams/cam-1/fragments lists what there is`)).toBe(words.empty);
    expect(say(404, 'there is nothing at this path')).toBe('there is nothing at this path');
  });

  it('says what the viewer can do', () => {
    expect(say(403, 'not permitted: GetClip')).toBe(words.denied);
    expect(say(401, 'no token')).toBe(words.signedOut);
    expect(say(400, 'the codec changes at …')).toBe(words.refused('the codec changes at …'));
  });
});
