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

/**
 * How large a camera's pictures are, learnt from the first one. Small stills are asked for in the camera's own shape, since
 * KVS stretches; and pictures that are small anyway as they are, since one size is one entry in the gateway's cache.
 */
const sizes = new Map<string, { width: number; height: number }>();
const SMALL = 1000;

export const learnSize = (stream: string, width: number, height: number): void => { if (width > 0 && height > 0) sizes.set(stream, { width, height }); };

/** The size to ask for a still of about `width`; nothing for its own size. */
export function stillSize(stream: string, width: number): { width: number; height: number } | undefined {
  const size = sizes.get(stream);
  if (!size || size.width <= SMALL) return undefined;
  return { width, height: Math.round((width * size.height) / size.width / 2) * 2 };
}

export const knowsSize = (stream: string): boolean => sizes.has(stream);
