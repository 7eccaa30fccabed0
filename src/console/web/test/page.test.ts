import { describe, expect, it } from 'vitest';
import { readAddress, writeAddress } from '../src/address';
import { actFor } from '../src/camera/keys';
import { guess, narrow, unknown } from '../src/present';
import { claimsOf, departure, readReturn } from '../src/session/single-sign-on';
import { renewAt } from '../src/session/session';
import { matching } from '../src/roster';
import { columns, tileWidth } from '../src/wall/grid';
import { bytes, clockMs, countdown, duration, moment, zoneName } from '../src/words';

const T = Date.parse('2026-03-10T12:00:05.250Z');

describe('addresses', () => {
  it('survive the way there and back', () => {
    for (const address of [{ view: 'wall' }, { view: 'camera', name: 'cam-1' }, { view: 'camera', name: 'cam.2_x', at: T, from: T - 5, to: T + 5 }] as const) expect(readAddress(writeAddress(address))).toEqual(address);
    expect(writeAddress({ view: 'camera', name: 'cam-1', at: T })).toBe('#/camera/cam-1?t=2026-03-10T12:00:05.250Z');
  });

  it('that make no sense lead to the wall', () => {
    for (const hash of ['', '#', '#/camera/', '#/camera/a%2Fb', '#/camera/%E0%A4%A', '#/nothing/x', '#/camera/<b>']) expect(readAddress(hash)).toEqual({ view: 'wall' });
    expect(readAddress('#/camera/cam-1?t=yesterday')).toEqual({ view: 'camera', name: 'cam-1' });
  });
});

describe('words for numbers', () => {
  it('for times and lengths', () => {
    expect(clockMs(T, 'utc')).toBe('12:00:05.250');
    expect(moment(T, T + 1000, 'utc')).toBe('12:00:05');
    expect(moment(T, T + 86400e3, 'utc')).toBe('10 Mar, 12:00:05');
    expect(zoneName('utc', T)).toBe('UTC');
    expect([0, 900, 4200, 65e3, 3600e3, 12_000e3, 90_000e3].map(duration)).toEqual(['0 s', '0.9 s', '4.2 s', '1 min 5 s', '1 h', '3 h 20 min', '1 d 1 h']);
    expect([0, 65e3, 3725e3].map(countdown)).toEqual(['0:00', '1:05', '1:02:05']);
  });

  it('for bytes, in the units of KVS’s limits', () => {
    expect([0, 999, 1000, 53_400, 100e6, 1.234e9].map(bytes)).toEqual(['0 B', '999 B', '1.0 kB', '53.4 kB', '100 MB', '1.2 GB']);
  });
});

describe('the gateway’s clock', () => {
  it('is ours unless an answer proves otherwise', () => {
    expect(guess(unknown)).toBe(0);
    expect(guess(narrow(unknown, 10_000, 10_100, 10_300))).toBe(0);
    const ahead = narrow(unknown, 100_000, 10_000, 10_200);
    expect(guess(ahead)).toBeGreaterThan(89_000);
    expect(guess(narrow(ahead, 10_000, 10_100, 10_300))).toBe(0);
  });
});

describe('signing in', () => {
  it('begins at the gateway, and names where to come back to', () => {
    expect(departure('https://a.example/', '#/camera/cam-1?t=1')).toBe('/console/sign-in?issuer=https%3A%2F%2Fa.example%2F&return=%23%2Fcamera%2Fcam-1%3Ft%3D1');
    expect(departure('https://a.example/', '', true)).toContain('&quiet=1');
  });

  it('reads claims and the way back', () => {
    expect(claimsOf(`x.${btoa(JSON.stringify({ sub: 'a' }))}.y`)).toEqual({ sub: 'a' });
    for (const junk of ['', 'a.b', 'a.!!.c', `x.${btoa('1')}.y`]) expect(claimsOf(junk)).toBeUndefined();
    expect(readReturn('?signed_in=quiet')).toEqual({ problem: undefined });
    expect(readReturn('?sign_in_problem=login_required')).toEqual({ problem: 'login_required' });
    expect(readReturn('?x=1')).toBeUndefined();
  });

  it('renews two minutes before the end, or in the last fifth of a short life', () => {
    expect(renewAt(0, 3600e3)).toBe(3480e3);
    expect(renewAt(0, 50e3)).toBe(40e3);
  });
});

describe('the wall', () => {
  it('makes tiles as large as they can be', () => {
    expect(columns(1, 1400, 800, 10)).toBe(1);
    expect(columns(4, 1400, 800, 10)).toBe(2);
    expect(columns(9, 1400, 800, 10)).toBe(3);
    expect(columns(16, 1400, 800, 10)).toBe(4);
    expect(columns(3, 370, 700, 8)).toBe(1);
    expect(columns(16, 370, 700, 8)).toBe(2);
    expect(tileWidth(9, 3, 1400, 800, 10)).toBeLessThanOrEqual(460);
    expect(tileWidth(3, 1, 370, 700, 8)).toBe(370);
  });

  it('finds cameras by all words, in any order', () => {
    const streams = ['dock-north', 'dock-south', 'lobby'].map((name) => ({ name }));
    expect(matching(streams, ' NORTH dock').map((stream) => stream.name)).toEqual(['dock-north']);
    expect(matching(streams, '')).toHaveLength(3);
    expect(matching(streams, 'x')).toHaveLength(0);
  });
});

describe('keys', () => {
  const acts = { ' ': () => undefined, i: () => undefined, ArrowLeft: () => undefined };
  const key = (key: string, target: unknown = { tagName: 'BODY' }, more = {}) => actFor({ key, ctrlKey: false, metaKey: false, altKey: false, target: target as EventTarget, ...more }, acts);
  it('act, unless they belong to a field, a button, or the browser', () => {
    expect(key('I')).toBe(acts.i);
    expect(key(' ')).toBe(acts[' ']);
    expect(key(' ', { tagName: 'BUTTON' })).toBeUndefined();
    expect(key('i', { tagName: 'INPUT', type: 'search' })).toBeUndefined();
    expect(key(' ', { tagName: 'INPUT', type: 'checkbox' })).toBeUndefined();
    expect(key('i', { tagName: 'INPUT', type: 'checkbox' })).toBe(acts.i);
    expect(key('i', { tagName: 'TEXTAREA' })).toBeUndefined();
    expect(key('i', undefined, { ctrlKey: true })).toBeUndefined();
    expect(key('q')).toBeUndefined();
  });
});
