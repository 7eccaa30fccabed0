// Numbers and times as people read them. Pure: the zone and the present come as arguments.

import { text } from './text';

export type Zone = 'local' | 'utc';

const cached = new Map<string, Intl.DateTimeFormat>();

/** A formatter for the zone; 24 hours everywhere, since this is a control room. */
export function formatter(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let found = cached.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat('en-GB', { hourCycle: 'h23', ...(zone === 'utc' ? { timeZone: 'UTC' } : {}), ...options });
    cached.set(key, found);
  }
  return found;
}

export const clockTime = (at: number, zone: Zone): string => formatter(zone, { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(at);
export const clockMs = (at: number, zone: Zone): string => `${clockTime(at, zone)}.${String(Math.floor(((at % 1000) + 1000) % 1000)).padStart(3, '0')}`;
export const dayOf = (at: number, zone: Zone): string => formatter(zone, { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' }).format(at);
const sameDay = (a: number, b: number, zone: Zone): boolean => dayOf(a, zone) === dayOf(b, zone);

/** `14:03:22`, with the day in front when it is not today. */
export function moment(at: number, now: number, zone: Zone): string {
  if (sameDay(at, now, zone)) return clockTime(at, zone);
  return `${formatter(zone, { day: 'numeric', month: 'short' }).format(at)}, ${clockTime(at, zone)}`;
}

/** The same with tenths of a second: `14:03:22.4`. */
export const momentExact = (at: number, now: number, zone: Zone): string => `${moment(at, now, zone)}.${Math.floor((at % 1000) / 100)}`;

/** The zone's short name: `UTC`, `CET`, `GMT+2`. */
export function zoneName(zone: Zone, at: number): string {
  if (zone === 'utc') return 'UTC';
  const part = formatter(zone, { timeZoneName: 'short' }).formatToParts(at).find((part) => part.type === 'timeZoneName');
  return part?.value ?? '';
}

/** A length of time in at most two units: `4 s`, `2 min 5 s`, `3 h 20 min`, `2 d 1 h`. */
export function duration(ms: number): string {
  const units = text.units;
  const total = Math.max(0, Math.round(ms / 1000));
  if (ms < 10e3 && ms % 1000 >= 50 && ms > 0) return `${(ms / 1000).toFixed(1)} ${units.second}`;
  const [days, hours, minutes, seconds] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60, total % 60];
  const parts: [number, string][] = [[days, units.day], [hours, units.hour], [minutes, units.minute], [seconds, units.second]];
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return `0 ${units.second}`;
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(' ');
}

/** `1:05` or `2:03:09`, for a countdown. */
export function countdown(ms: number): string {
  const total = Math.max(0, Math.ceil(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const [hours, minutes, seconds] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** Bytes in decimal units, as KVS's own limits are. */
export function bytes(n: number): string {
  let unit = 0;
  let value = n;
  while (value >= 999.5 && unit < text.units.bytes.length - 1) { value /= 1000; unit += 1; }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${text.units.bytes[unit]}`;
}
