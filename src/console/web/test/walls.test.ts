import { describe, expect, it } from 'vitest';
import { readAddress, writeAddress } from '../src/address';
import { movingTiles, picked } from '../src/wall/grid';
import { camerasOf, merge, moved, noWalls, readWalls, wallName, withFavourite, withoutWall, withWall, writeWalls } from '../src/wall/walls';

const walls = { favourites: ['b', 'a'], walls: [{ name: 'Dock', cameras: ['a'] }, { name: 'Night', cameras: ['b', 'c'] }] };

describe('walls', () => {
  it('survive their file', () => expect(readWalls(writeWalls(walls))).toEqual(walls));

  it('are not read from something else, and what does not fit is left out', () => {
    for (const text of ['', 'x', '[]', 'null', '{"walls":[]}', '{"kind":"other","walls":[]}']) expect(readWalls(text)).toBeUndefined();
    const odd = { kind: 'kvs-edge walls', favourites: ['a', 'a', 5, '../x'], walls: [{ name: ' Dock ', cameras: 'a' }, { name: 'Dock', cameras: [] }, { name: 'favourites' }, { name: '' }, null] };
    expect(readWalls(JSON.stringify(odd))).toEqual({ favourites: ['a'], walls: [{ name: 'Dock', cameras: [] }] });
  });

  it('have names of their own', () => {
    expect([' Dock ', '', ' ', 'Favourites', 'x'.repeat(61), 5].map(wallName)).toEqual(['Dock', undefined, undefined, undefined, undefined, undefined]);
  });

  it('are merged by name', () => {
    expect(merge(walls, { favourites: ['c', 'a'], walls: [{ name: 'Dock', cameras: ['z'] }] })).toEqual({
      favourites: ['b', 'a', 'c'], walls: [{ name: 'Night', cameras: ['b', 'c'] }, { name: 'Dock', cameras: ['z'] }],
    });
  });

  it('are changed, renamed in their place, and taken away', () => {
    expect(withWall(walls, 'Dock', { name: 'Yard', cameras: ['y'] }).walls.map(({ name }) => name)).toEqual(['Yard', 'Night']);
    expect(withWall(noWalls, undefined, { name: 'Yard', cameras: [] }).walls).toHaveLength(1);
    expect(withWall(walls, 'favourites', { name: 'favourites', cameras: ['q'] })).toEqual({ ...walls, favourites: ['q'] });
    expect(withoutWall(walls, 'Dock').walls.map(({ name }) => name)).toEqual(['Night']);
    expect(withFavourite(walls, 'b', true).favourites).toEqual(['a', 'b']);
    expect(withFavourite(walls, 'b', false).favourites).toEqual(['a']);
    expect([camerasOf(walls, 'Night'), camerasOf(walls, 'favourites'), camerasOf(walls, 'none')]).toEqual([['b', 'c'], ['b', 'a'], undefined]);
  });

  it('keep the order that they are given', () => {
    expect(moved(['a', 'b', 'c'], 0, 1)).toEqual(['b', 'a', 'c']);
    expect(moved(['a', 'b', 'c'], 2, -5)).toEqual(['c', 'a', 'b']);
    const streams = ['a', 'b', 'c'].map((name) => ({ name }));
    expect(picked(streams, ['c', 'gone', 'a']).map(({ name }) => name)).toEqual(['c', 'a']);
    expect(picked(streams, undefined)).toEqual(streams);
  });
});

describe('the address of a wall', () => {
  it('survives the way there and back', () => {
    for (const address of [{ view: 'wall', wall: 'Night & dock, 1' }, { view: 'wall', wall: 'x', cameras: ['a', 'b.c'], tiles: 4, page: 2, find: 'a b', every: 30 }] as const) expect(readAddress(writeAddress(address))).toEqual(address);
    expect(writeAddress({ view: 'wall', tiles: 4, page: 2, cameras: ['a', 'b'] })).toBe('#/?tiles=4&page=2&cameras=a,b');
  });

  it('is a bare one where it makes no sense', () => {
    for (const hash of ['#/?tiles=0', '#/?tiles=1.5&page=-1', '#/?every=1', '#/?cameras=%3Cb%3E', '#/?wall=']) expect(readAddress(hash)).toEqual({ view: 'wall' });
  });
});

describe('moving pictures', () => {
  it('go to tiles on the screen, first to those that have them', () => {
    expect([...movingTiles(['a', 'b', 'c'], new Set(), 2)]).toEqual(['a', 'b']);
    expect([...movingTiles(['a', 'b', 'c'], new Set(['c']), 2)]).toEqual(['c', 'a']);
    expect([...movingTiles(['b'], new Set(['a']), 2)]).toEqual(['b']);
  });
});
