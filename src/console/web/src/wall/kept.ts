// The walls of one user in this browser's storage. Read anew before each change, since other tabs write there too.

import type { Me } from '../api';
import { noWalls, readWalls, writeWalls, type Walls } from './walls';

/** Where the walls of a user are: users of one browser do not see each other's. */
const placeOf = ({ issuer, subject }: Me): string => `kvs-edge.walls.${JSON.stringify([issuer, subject])}`;

export class KeptWalls {
  private readonly place: string | undefined;
  /** What a browser without storage knows until the page is left. */
  private known: Walls = noWalls;

  constructor(me: Me | undefined) { this.place = me && placeOf(me); }

  get(): Walls {
    try {
      const text = this.place && localStorage.getItem(this.place);
      if (text) this.known = readWalls(text) ?? noWalls;
    } catch { /* a browser that keeps nothing */ }
    return this.known;
  }

  set(walls: Walls): void {
    this.known = walls;
    try { if (this.place) localStorage.setItem(this.place, writeWalls(walls)); } catch { /* as above */ }
  }

  /** Whether an event of the storage is about these walls. */
  concerns(event: StorageEvent): boolean { return event.key === this.place; }
}
