// Players that are programs: each is run for some seconds and its own words are read for pictures, stalls and errors.

import { spawn } from 'node:child_process';

/** A stall is so long without a new picture after the first one, in seconds; programs tell in steps of up to a quarter. */
const NOTICED = 0.7;

const programs = {
  // Reads as fast as it is given: what it shows is that all of it decodes, and that it keeps up with live.
  ffmpeg: {
    command: (url, seconds) => ['ffmpeg', ['-hide_banner', '-nostdin', '-v', 'warning', '-stats_period', '0.2', '-progress', 'pipe:1', '-re', '-i', url, '-t', String(seconds), '-map', '0:v:0', '-map', '0:a:0?', '-f', 'null', '-']],
    version: ['ffmpeg', ['-version'], /ffmpeg version (\S+)/],
    picture: (line) => /^frame=(\d+)/.exec(line)?.[1],
    fault: (line) => /error|invalid|failed|corrupt|missing|http|non-monoton|discontinu/i.test(line) && !/^\w+=/.test(line),
  },
  // Every buffer that reaches the video sink is told with -v; the sink keeps time as a window would.
  GStreamer: {
    command: (url) => ['gst-launch-1.0', ['-v', 'playbin', `uri=${url}`, 'video-sink=fakesink silent=false sync=true', 'audio-sink=fakesink sync=true']],
    version: ['gst-launch-1.0', ['--version'], /GStreamer (\S+)/],
    picture: (line, seen) => (/vbin.*last-message = chain/.test(line) ? seen.frames + 1 : undefined),
    fault: (line) => /^(ERROR|WARNING)|: error/i.test(line),
  },
  mpv: {
    command: (url) => ['mpv', ['--no-config', '--vo=null', '--ao=null', '--hwdec=no', '--no-input-terminal', '--term-status-msg=\nAT ${=time-pos} ${=estimated-frame-number} ${=frame-drop-count} ${paused-for-cache}\n', url]],
    version: ['mpv', ['--version'], /mpv (\S+)/],
    picture: (line, seen) => { const [, time] = /^AT (\S+)/.exec(line) ?? []; if (time === undefined || time === seen.time) return undefined; const n = Math.round((time - (seen.time ?? time)) * seen.rate); seen.time = time; return seen.frames + Math.max(1, n); },
    fault: (line) => /error|fail|invalid|corrupt/i.test(line),
  },
  // Asked for its statistics every quarter of a second; it will not run as root.
  VLC: {
    command: (url) => ['runuser', ['-u', 'nobody', '--', 'env', 'HOME=/tmp', 'vlc', '-I', 'oldrc', '--rc-fake-tty', '--no-video-title-show', '--vout=vdummy', '--aout=adummy', '--no-color', '-v', url]],
    ask: 'stats\n',
    version: ['runuser', ['-u', 'nobody', '--', 'env', 'HOME=/tmp', 'vlc', '--version'], /VLC version (\S+)/],
    picture: (line) => /frames displayed\s*:\s*(\d+)/.exec(line)?.[1],
    fault: (line) => /error|fail/i.test(line) && !/no error|dbus|hotkeys|lua|interface|rc|vdpau|pulse|alsa|playlist meta/i.test(line),
  },
};

export const nativePlayers = Object.keys(programs);

export function nativeVersion(name) {
  const [command, args, pattern] = programs[name].version;
  return new Promise((resolve) => {
    const child = spawn(command, args);
    let text = '';
    child.stdout.on('data', (chunk) => { text += chunk; });
    child.on('error', () => resolve(undefined));
    child.on('close', () => resolve(pattern.exec(text)?.[1]));
  });
}

/** Runs one; resolves with what was seen, in the words of `page.js`. */
export function playNative({ name, url, seconds, trace }) {
  const program = programs[name];
  const [command, args] = program.command(url, seconds);
  const began = Date.now();
  const seen = { frames: 0, first: null, stalls: [], jumps: [], errors: [], fatal: [], rate: 15.625, ended: false };
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => undefined);
  let last;
  const read = (line) => {
    trace?.(line);
    const at = (Date.now() - began) / 1000;
    const frames = Number(program.picture(line, seen) ?? NaN);
    if (frames > seen.frames) {
      if (seen.first === null) seen.first = at;
      else if (at - last > NOTICED) seen.stalls.push({ at: last, seconds: Math.round((at - last) * 10) / 10 });
      last = at;
      seen.frames = frames;
    } else if (program.fault(line)) seen.errors.push({ at, text: line.replaceAll(/\/v1\/\S{20,}\//g, '/v1/…/').slice(0, 300) });
  };
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.on('data', (chunk) => { const lines = (rest + chunk).split(/[\r\n]+/); rest = lines.pop(); lines.forEach(read); });
  }
  const asking = program.ask && setInterval(() => child.stdin.write(program.ask), 250);
  // `-t` counts media; a hang must end too.
  const over = setTimeout(() => child.kill('SIGTERM'), (seconds + 6) * 1000);
  const hard = setTimeout(() => child.kill('SIGKILL'), (seconds + 12) * 1000);
  return new Promise((resolve) => {
    child.on('error', (error) => { seen.fatal.push({ at: 0, text: error.message }); });
    child.on('close', (code, signal) => {
      clearInterval(asking); clearTimeout(over); clearTimeout(hard);
      if (signal === 'SIGKILL') seen.errors.push({ at: seconds, text: 'did not end when told to' });
      if (seen.frames === 0) seen.fatal.push({ at: 0, text: `no picture; ended with ${code ?? signal}` });
      seen.now = (Date.now() - began) / 1000;
      resolve(seen);
    });
  });
}
