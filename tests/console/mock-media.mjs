// A minute of moving pictures with sound, cut into fragments as KVS cuts them, and a still for each: what the
// stand-in gateway (mock.mjs) shows. Made once by ffmpeg and kept in the system's folder for temporary files.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const FRAGMENT_MS = 2000;
export const FRAGMENTS = 30;

const look = [
  ['testsrc2=size=640x360:rate=15', 'hue=s=0.6'],
  ['smptehdbars=size=640x360:rate=15', 'hue=s=0.5'],
  ['mandelbrot=size=640x360:rate=15:maxiter=60', 'eq=brightness=0.05'],
];

/** Fragments, init segments, stills and a whole file for each of three looks. */
export function media() {
  const folder = join(tmpdir(), 'kvs-edge-console-mock-2');
  if (!existsSync(folder)) {
    const work = `${folder}.${process.pid}`;
    mkdirSync(work, { recursive: true });
    look.forEach((_, index) => make(work, index));
    try { renameSync(work, folder); } catch { rmSync(work, { recursive: true }); }
  }
  return look.map((_, index) => {
    const read = (name) => readFileSync(join(folder, `${index}-${name}`));
    const all = (kind, end) => Array.from({ length: FRAGMENTS }, (_, n) => read(`${kind}-${String(n).padStart(2, '0')}.${end}`));
    return {
      videoInit: read('v-init.mp4'), audioInit: read('a-init.mp4'), whole: read('whole.mp4'),
      video: all('v', 'm4s'), audio: all('a', 'm4s'), stills: all('still', 'jpg'),
    };
  });
}

function make(folder, index) {
  const seconds = (FRAGMENTS * FRAGMENT_MS) / 1000;
  const at = (name) => join(folder, `${index}-${name}`);
  const [source, filter] = look[index];
  const ffmpeg = (...args) => execFileSync('ffmpeg', ['-v', 'error', '-y', ...args]);
  ffmpeg('-f', 'lavfi', '-i', source, '-f', 'lavfi', '-i', `sine=frequency=${220 * (index + 1)}:sample_rate=48000`,
    '-t', String(seconds), '-vf', filter, '-c:v', 'libx264', '-preset', 'veryfast', '-profile:v', 'main', '-g', '30',
    '-keyint_min', '30', '-sc_threshold', '0', '-bf', '0', '-b:v', '400k', '-pix_fmt', 'yuv420p', '-c:a', 'aac', '-b:a', '64k',
    '-movflags', '+faststart', at('whole.mp4'));
  for (const [track, letter] of [['v', 'v'], ['a', 'a']]) {
    ffmpeg('-i', at('whole.mp4'), '-map', `0:${track}`, '-c', 'copy', '-f', 'hls', '-hls_time', '2', '-hls_playlist_type', 'vod',
      '-hls_segment_type', 'fmp4', '-hls_fmp4_init_filename', `${index}-${letter}-init.mp4`,
      '-hls_segment_filename', at(`${letter}-%02d.m4s`), at(`${letter}.m3u8`));
  }
  const made = readdirSync(folder).filter((name) => name.startsWith(`${index}-a-`) && name.endsWith('.m4s')).length;
  if (made < FRAGMENTS) throw new Error(`ffmpeg cut ${made} audio fragments instead of ${FRAGMENTS}`);
  ffmpeg('-i', at('whole.mp4'), '-vf', 'fps=0.5', '-start_number', '0', '-q:v', '4', at('still-%02d.jpg'));
  writeFileSync(at('done'), '');
}
