// The part of the address after `#`: which view, and when. It is what a share link carries; it never holds a secret.

/** All cameras, or one; times in ms since 1970. */
export type Address =
  | { readonly view: 'wall' }
  | { readonly view: 'camera'; readonly name: string; readonly at?: number; readonly from?: number; readonly to?: number };

const name = /^[a-zA-Z0-9_.-]{1,256}$/;

/** Reads the address; anything that is not one is the wall. */
export function readAddress(hash: string): Address {
  const [path = '', search = ''] = hash.replace(/^#\/?/, '').split('?');
  const [view, encoded] = path.split('/');
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
  if (address.view === 'wall') return '#/';
  const query = [['t', address.at], ['in', address.from], ['out', address.to]].filter(([, at]) => at !== undefined)
    .map(([key, at]) => `${key}=${new Date(at as number).toISOString()}`).join('&');
  return `#/camera/${encodeURIComponent(address.name)}${query ? `?${query}` : ''}`;
}
