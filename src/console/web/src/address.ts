// The part of the address after `#`: which view, and when. It is what a share link carries; it never holds a secret.

/**
 * Cameras, or one; times in ms since 1970. `wall` names a wall; `cameras` are those of it, which a link carries to browsers
 * that do not know it. `tiles` at once, `page` from 1, `find` what is searched for, `every` so many seconds the next page.
 */
export interface WallAddress {
  readonly view: 'wall'; readonly wall?: string; readonly cameras?: readonly string[]; readonly tiles?: number; readonly page?: number; readonly find?: string; readonly every?: number;
}
export type Address =
  | WallAddress
  | { readonly view: 'camera'; readonly name: string; readonly at?: number; readonly from?: number; readonly to?: number };

const name = /^[a-zA-Z0-9_.-]{1,256}$/;

/** Reads the address; anything that is not one is the wall. */
export function readAddress(hash: string): Address {
  const [path = '', search = ''] = hash.replace(/^#\/?/, '').split('?');
  const [view, encoded] = path.split('/');
  if (view === '') return readWall(new URLSearchParams(search));
  if (view !== 'camera' || !encoded) return { view: 'wall' };
  let stream: string;
  try { stream = decodeURIComponent(encoded); } catch { return { view: 'wall' }; }
  if (!name.test(stream)) return { view: 'wall' };
  const query = new URLSearchParams(search);
  const time = (key: string) => { const at = Date.parse(query.get(key) ?? ''); return Number.isNaN(at) ? undefined : at; };
  const [at, from, to] = [time('t'), time('in'), time('out')];
  return { view: 'camera', name: stream, ...(at !== undefined && { at }), ...(from !== undefined && { from }), ...(to !== undefined && { to }) };
}

/** Writes it back, with the `#`. */
export function writeAddress(address: Address): string {
  if (address.view === 'wall') return writeWall(address);
  const query = [['t', address.at], ['in', address.from], ['out', address.to]].filter(([, at]) => at !== undefined)
    .map(([key, at]) => `${key}=${new Date(at as number).toISOString()}`).join('&');
  return `#/camera/${encodeURIComponent(address.name)}${query ? `?${query}` : ''}`;
}

/** Characters of what is searched for and of a wall's name. */
const LONGEST = 200;
/** Bounds of what an address may ask for: tiles at once, pages, seconds for one page. */
const bounds = { tiles: [1, 100], page: [1, 10_000], every: [5, 3600] } as const;

function readWall(query: URLSearchParams): WallAddress {
  const words = (key: string) => query.get(key)?.slice(0, LONGEST) || undefined;
  const number = (key: keyof typeof bounds) => {
    const value = Number(query.get(key) ?? NaN);
    return Number.isInteger(value) && value >= bounds[key][0] && value <= bounds[key][1] ? value : undefined;
  };
  const cameras = query.has('cameras') ? [...new Set(query.get('cameras')?.split(',').filter((one) => name.test(one)))] : undefined;
  const [wall, find, tiles, page, every] = [words('wall'), words('find'), number('tiles'), number('page'), number('every')];
  return { view: 'wall', ...(wall && { wall }), ...(cameras?.length && { cameras }), ...(tiles && { tiles }), ...(page && { page }), ...(find && { find }), ...(every && { every }) };
}

function writeWall({ wall, cameras, tiles, page, find, every }: WallAddress): string {
  const parts = { wall, tiles, page, every, find, cameras: cameras?.join(',') };
  const query = Object.entries(parts).filter(([, value]) => value !== undefined && value !== '')
    .map(([key, value]) => `${key}=${encodeURIComponent(String(value)).replaceAll('%2C', ',')}`).join('&');
  return query ? `#/?${query}` : '#/';
}
