// What this browser remembers of a viewer's taste: colours, zone, tiles, sound. Never a secret.

import type { Zone } from './words';

export type Theme = 'system' | 'light' | 'dark';
interface Preferences { theme: Theme; zone: Zone; tiles: number; sound: boolean; issuer: string }

const first: Preferences = { theme: 'system', zone: 'local', tiles: 9, sound: false, issuer: '' };
const place = 'kvs-edge.preferences';
const listeners = new Set<() => void>();

function load(): Preferences {
  try { return { ...first, ...(JSON.parse(localStorage.getItem(place) ?? '{}') as Partial<Preferences>) }; } catch { return { ...first }; }
}

export const preferences: Readonly<Preferences> = load();

export function prefer(change: Partial<Preferences>): void {
  Object.assign(preferences, change);
  try { localStorage.setItem(place, JSON.stringify(preferences)); } catch { /* private windows forget, and that is fine */ }
  apply();
  for (const listener of listeners) listener();
}

/** Calls back on every change; hands back how to stop that. */
export function onPreference(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function apply(): void {
  if (preferences.theme === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = preferences.theme;
}

/** Pictures of cameras are not all 16:9; the shape is learnt from the first picture and kept, so that small stills are not stretched. */
const shapes = new Map<string, number>();
export const shapeOf = (stream: string): number | undefined => shapes.get(stream);
export const learnShape = (stream: string, width: number, height: number): void => { if (width > 0 && height > 0) shapes.set(stream, width / height); };
