// What a viewer keeps of the wall: favourites and named walls, each a list of cameras in its order. Pure.

/** A list of cameras that has a name. */
export interface NamedWall { readonly name: string; readonly cameras: readonly string[] }
export interface Walls { readonly favourites: readonly string[]; readonly walls: readonly NamedWall[] }

export const noWalls: Walls = { favourites: [], walls: [] };

/** The name of the favourites where a wall is named; no named wall may have it. */
export const FAVOURITES = 'favourites';
/** Characters of a wall's name. */
export const LONGEST_NAME = 60;
const MOST_WALLS = 200;
const MOST_CAMERAS = 10_000;
const KIND = 'kvs-edge walls';

const streamName = /^[a-zA-Z0-9_.-]{1,256}$/;

/** Whether this is the name of a camera. */
export const isCamera = (name: unknown): name is string => typeof name === 'string' && streamName.test(name);

/** A wall's name without spaces around it; nothing if it is empty, too long, or the favourites'. */
export function wallName(name: unknown): string | undefined {
  if (typeof name !== 'string') return undefined;
  const plain = name.trim();
  return plain && plain.length <= LONGEST_NAME && plain.toLowerCase() !== FAVOURITES ? plain : undefined;
}

/** The text of a file with walls, or of the browser's storage. Nothing if it is not one; what does not fit is left out. */
export function readWalls(text: string): Walls | undefined {
  let value: unknown;
  try { value = JSON.parse(text); } catch { return undefined; }
  if (!isRecord(value) || value['kind'] !== KIND) return undefined;
  const walls: NamedWall[] = [];
  for (const one of list(value['walls'])) {
    const name = isRecord(one) ? wallName(one['name']) : undefined;
    if (name && walls.length < MOST_WALLS && !walls.some((other) => other.name === name)) walls.push({ name, cameras: cameras((one as Record<string, unknown>)['cameras']) });
  }
  return { favourites: cameras(value['favourites']), walls };
}

export const writeWalls = ({ favourites, walls }: Walls): string => `${JSON.stringify({ kind: KIND, version: 1, favourites, walls }, null, 2)}\n`;

/** Both: walls of one name are those of `more`, and its favourites follow. */
export function merge(kept: Walls, more: Walls): Walls {
  return {
    favourites: [...new Set([...kept.favourites, ...more.favourites])],
    walls: [...kept.walls.filter(({ name }) => !more.walls.some((other) => other.name === name)), ...more.walls],
  };
}

/** The cameras of a wall by its name, in their order; nothing if there is no such wall. */
export function camerasOf({ favourites, walls }: Walls, name: string): readonly string[] | undefined {
  return name === FAVOURITES ? favourites : walls.find((wall) => wall.name === name)?.cameras;
}

/** With a wall changed, renamed (`was`), or added. */
export function withWall(kept: Walls, was: string | undefined, wall: NamedWall): Walls {
  if (wall.name === FAVOURITES) return { ...kept, favourites: wall.cameras };
  const nth = kept.walls.findIndex(({ name }) => name === was);
  const others = kept.walls.filter(({ name }) => name !== was && name !== wall.name);
  return { ...kept, walls: others.toSpliced(nth < 0 ? others.length : nth, 0, wall) };
}

export const withoutWall = (kept: Walls, gone: string): Walls => ({ ...kept, walls: kept.walls.filter(({ name }) => name !== gone) });

/** With a camera among the favourites, at their end, or no longer. */
export function withFavourite(kept: Walls, camera: string, on: boolean): Walls {
  const others = kept.favourites.filter((name) => name !== camera);
  return { ...kept, favourites: on ? [...others, camera] : others };
}

/** The list with one entry moved by so many places, as far as that goes. */
export function moved<T>(entries: readonly T[], from: number, by: number): T[] {
  const to = Math.min(entries.length - 1, Math.max(0, from + by));
  const rest = entries.toSpliced(from, 1);
  return rest.toSpliced(to, 0, entries[from] as T);
}

const cameras = (value: unknown): string[] => [...new Set(list(value).filter(isCamera))].slice(0, MOST_CAMERAS);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
