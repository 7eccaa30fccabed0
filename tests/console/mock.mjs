// A stand-in for the gateway as the console sees it: for work on the page without building Rust, and for end-to-end
// tests of states that are hard to bring about (H.265, silence, faults on request).
// `node mock.mjs` prints its address; `GET /mock/token?sub=alice&ttl=3600` makes a token; it proves nothing about kvs-edge.

import { createServer } from 'node:http';
import { readFileSync, existsSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FRAGMENT_MS, FRAGMENTS, media } from './mock-media.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const dist = process.env.CONSOLE_DIST ?? join(here, '../../src/console/dist');
const port = Number(process.env.PORT ?? 8099);
const started = Date.now();
const HOUR = 3600e3;
const DAY = 24 * HOUR;
const looks = media();
/** Cameras that one page of `/streams` has, as the gateway. */
const PAGE = 1000;

const minute = (time) => Math.floor(time / 60e3) % 60;
const always = () => true;
const all = ['GetHLSStreamingSessionURL', 'GetDASHStreamingSessionURL', 'GetImages', 'ListFragments', 'GetClip', 'GetMediaForFragmentList', 'DescribeStream'];
const cameras = [
  { name: 'dock-north', look: 0, audio: true, has: always, keeps: 30 * DAY },
  { name: 'lobby-east', look: 1, has: (time) => !(minute(time) >= 20 && minute(time) < 26) && !(minute(time) === 42), keeps: 7 * DAY },
  { name: 'yard', look: 2, has: (time) => time > started - 35 * 60e3 && !(time > started - 11 * 60e3 && time < started - 7 * 60e3), keeps: 2 * DAY },
  { name: 'gate-west', look: 0, has: (time) => time < started - 12 * 60e3, keeps: DAY, extra: true },
  { name: 'ramp-hevc', look: 1, codecs: 'hvc1.1.6.L93.B0', has: always, keeps: DAY, extra: true },
  { name: 'tower-live-only', look: 2, has: always, keeps: DAY, extra: true, actions: ['GetHLSStreamingSessionURL', 'GetImages', 'DescribeStream'] },
  { name: 'vault', look: 0, has: always, keeps: DAY, denied: true },
];
for (let n = 1; n <= Number(process.env.MOCK_CAMERAS ?? 0); n++) {
  cameras.push({ name: `cam-${String(n).padStart(2, '0')}`, look: n % 3, has: always, keeps: DAY });
}
const shown = cameras.filter((camera) => process.env.MOCK_EXTRA !== '0' || !camera.extra);

const faults = { status: 0, left: 0, path: '', after: 0 };
const seen = new Set();

createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (!response.headersSent) fail(response, error.status ?? 500, error.type ?? 'InternalFailure', error.message, error.headers);
    else response.destroy();
  });
}).listen(port, '127.0.0.1', function () { console.log(`mock gateway at http://127.0.0.1:${this.address().port}/`); });

async function answer(request, response) {
  const url = new URL(request.url, 'http://mock');
  const path = url.pathname;
  const query = url.searchParams;
  if (path.startsWith('/mock/')) return mock(path, query, response);
  if (faults.left > 0 && path.includes(faults.path) && !(faults.after && request.method === 'HEAD')) {
    faults.left -= 1;
    if (!faults.after) throw wrong(faults.status, 'ServiceUnavailableException', 'a fault that was asked for');
    breakAfter(faults.after, response);
  }
  if (path === '/' || path.startsWith('/console/') && existsSync(join(dist, path))) return file(path === '/' ? '/index.html' : path, response);
  if (path === '/console/config.json') return json(response, { version: '0.1.0', issuers: JSON.parse(process.env.MOCK_ISSUERS ?? '[]') });
  if (path.startsWith('/hls/v1/')) return playback(path, query, request.headers, response);
  if (path === '/console/session' && !request.headers.authorization) return json(response, null);
  const caller = authenticate(request);
  if (path === '/console/me' || path === '/console/session') return json(response, { subject: caller.sub, issuer: caller.iss, groups: caller.groups ?? [], expires: new Date(caller.exp * 1000).toISOString() });
  if (path === '/streams') {
    const from = Number(query.get('next') ?? 0);
    const permitted = shown.filter((camera) => !camera.denied);
    return json(response, { streams: permitted.slice(from, from + PAGE).map(describe), next: from + PAGE < permitted.length ? String(from + PAGE) : null });
  }
  if (path === '/getHLSStreamingSessionURL') return session(JSON.parse(await text(request)), caller, response);
  const [, , name, tail] = path.split('/');
  const camera = cameras.find((camera) => camera.name === decodeURIComponent(name ?? ''));
  if (!path.startsWith('/streams/') || !camera) throw wrong(404, 'ResourceNotFoundException', 'there is nothing at this path');
  if (camera.denied) throw wrong(403, 'NotAuthorizedException', `not permitted: GetHLSStreamingSessionURL on ${name}`);
  return page(camera, tail, query, request, response);
}

/** Lets the connection break when so many bytes have been written. */
function breakAfter(bytes, response) {
  const write = response.write.bind(response);
  let left = bytes;
  response.write = (chunk) => { left -= chunk.length; return left > 0 ? write(chunk) : response.destroy(); };
}

function session({ StreamName: name, PlaybackMode: mode, HLSFragmentSelector: selector }, caller, response) {
  const now = Date.now();
  const camera = cameras.find((camera) => camera.name === name);
  if (!camera) throw wrong(404, 'ResourceNotFoundException', 'The requested stream is not found or not active.');
  if (camera.denied) throw wrong(403, 'NotAuthorizedException', `not permitted: GetHLSStreamingSessionURL on ${name}`);
  const live = (mode ?? 'LIVE') === 'LIVE';
  const { StartTimestamp, EndTimestamp } = selector?.TimestampRange ?? {};
  const [start, end] = live ? [0, 0] : [StartTimestamp * 1000, EndTimestamp * 1000];
  if (!live && !(end > start)) throw wrong(400, 'InvalidArgumentException', 'EndTimestamp must be after StartTimestamp');
  if (!list(camera, live ? now - 30e3 : start, live ? now : end).length) throw wrong(404, 'ResourceNotFoundException', 'No fragments found in the stream for the streaming request.');
  const capability = Buffer.from(JSON.stringify({ name, start, end, exp: caller.exp })).toString('base64url');
  return json(response, { HLSStreamingSessionURL: `http://another.name.example/hls/v1/${capability}/getHLSMasterPlaylist.m3u8` });
}

async function text(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return body;
}

async function page(camera, tail, query, request, response) {
  const now = Date.now();
  const range = () => [time(query.get('start')), time(query.get('end'))];
  const may = (action) => { if (!(camera.actions ?? all).includes(action)) throw wrong(403, 'NotAuthorizedException', `not permitted: ${action} on ${camera.name}`); };
  switch (tail) {
    case undefined: return json(response, describe(camera));
    case 'fragments': {
      may('ListFragments');
      const [start, end] = range();
      await pause(80);
      const fragments = list(camera, start, end).map((start) => ({
        number: number(start), server_start: new Date(start).toISOString(), producer_start: new Date(start - 350).toISOString(),
        length_ms: FRAGMENT_MS - 67, bytes: looks[camera.look].video[index(start)].length,
      }));
      return json(response, { stream: camera.name, start: query.get('start'), end: query.get('end'), fragments });
    }
    case 'snapshot.jpg': {
      may('GetImages');
      const at = query.get('at') ? time(query.get('at')) : (list(camera, now - 30e3, now).at(-1) ?? 0);
      if (!camera.has(at) || at > now || at < now - camera.keeps) throw wrong(404, 'ResourceNotFoundException', 'no picture at this time');
      response.writeHead(200, { 'content-type': 'image/jpeg', 'cache-status': 'kvs-edge; hit' });
      return response.end(looks[camera.look].stills[index(at)]);
    }
    case 'clip.mp4':
    case 'clip.mkv': {
      may('GetClip');
      return clip(camera, tail, query, request, response);
    }
    default: throw wrong(404, 'ResourceNotFoundException', 'there is nothing at this path');
  }
}

/** Bytes of a file for each of its fragments, beside a minute of media at the front. */
const CLIP_BYTES = 20_000;

/** A file of any length as the gateway describes it; behind its minute of media it is an MP4 `free` box. */
async function clip(camera, tail, query, request, response) {
  const [start, end] = [time(query.get('start')), time(query.get('end'))];
  if (end > Date.now()) throw wrong(400, 'InvalidArgumentException', 'end must be in the past');
  if (end - start > (query.get('format') === 'plain' ? 2 * HOUR : DAY)) throw wrong(400, 'InvalidArgumentException', 'end is too long after start');
  const found = list(camera, start - FRAGMENT_MS + 1, end);
  if (!found.length) throw wrong(404, 'ResourceNotFoundException', nothing(camera, start, end));
  const media = looks[camera.look].whole;
  const free = found.length * CLIP_BYTES;
  const total = media.length + free;
  const iso = (at) => new Date(at).toISOString();
  const [from, to] = [found[0], found.at(-1) + FRAGMENT_MS - 67];
  const etag = `"${camera.name}-${from}-${found.length}-${tail}-${query.get('format')}-${query.get('trim')}"`;
  const first = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? NaN);
  const part = first < total && [undefined, etag].includes(request.headers['if-range']);
  const begin = part ? first : 0;
  response.writeHead(part ? 206 : 200, {
    'content-type': tail === 'clip.mkv' ? 'video/x-matroska' : 'video/mp4', 'content-length': total - begin, 'accept-ranges': 'bytes', etag, 'cache-control': 'private, no-cache',
    'content-disposition': `attachment; filename="${`${camera.name}_${iso(from)}_${iso(to)}`.replaceAll(':', '-')}.${tail.slice(-3)}"`, 'kvs-edge-range': `${iso(from)}/${iso(to)}`,
    ...(part && { 'content-range': `bytes ${begin}-${total - 1}/${total}` }),
  });
  if (request.method === 'HEAD') return response.end();
  for (let at = begin; at < total && !response.destroyed; at += 262144) {
    const chunk = Buffer.alloc(Math.min(262144, total - at));
    media.copy(chunk, 0, Math.min(at, media.length));
    for (let n = Math.max(0, media.length - at); n < chunk.length; n++) chunk[n] = freeByte(at + n - media.length, free);
    if (!response.write(chunk)) await pause(20);
  }
  return response.end();
}

function freeByte(at, length) {
  if (at < 4) return (length >>> (24 - 8 * at)) & 255;
  return at < 8 ? 'free'.charCodeAt(at - 4) : (at * 31 + (at >> 12)) & 255;
}

function nothing(camera, start, end) {
  const iso = (at) => new Date(at).toISOString();
  const before = list(camera, start - DAY, start).at(-1);
  const after = list(camera, end, Date.now())[0];
  const near = [before && `ends at ${iso(before + FRAGMENT_MS - 67)}`, after && `begins at ${iso(after)}`].filter(Boolean).join(' and ');
  return `nothing is recorded of ${camera.name} from ${iso(start)} to ${iso(end)}; ${near ? `the nearest footage ${near}` : `/streams/${camera.name}/fragments lists what there is`}`;
}

function playback(path, query, headers, response) {
  const [, , , sealed, name] = path.split('/');
  if (headers.authorization) throw wrong(400, 'InvalidArgumentException', 'two credentials in one request');
  const capability = JSON.parse(Buffer.from(sealed, 'base64url'));
  if (capability.exp * 1000 < Date.now()) throw wrong(403, 'NotAuthorizedException', 'this playback URL has expired');
  const camera = cameras.find((camera) => camera.name === capability.name);
  if (camera.denied) throw wrong(403, 'NotAuthorizedException', `not permitted: GetHLSStreamingSessionURL on ${camera.name}`);
  const track = query.get('TrackNumber') ?? '1';
  const look = looks[camera.look];
  const kind = track === '2' ? 'audio' : 'video';
  const text = (lines) => { response.writeHead(200, { 'content-type': 'application/vnd.apple.mpegurl', 'cache-control': 'no-store', 'cache-status': 'kvs-edge; hit' }); response.end(`${lines.join('\n')}\n`); };
  const bytes = (body) => {
    const key = `${camera.name}${path.split('/').at(-1)}${query}`;
    response.writeHead(200, { 'content-type': 'video/mp4', 'content-length': body.length, 'cache-status': seen.has(key) ? 'kvs-edge; hit' : 'kvs-edge; fwd=miss; stored' });
    seen.add(key);
    response.end(body);
  };
  switch (name) {
    case 'getHLSMasterPlaylist.m3u8': {
      const codecs = camera.codecs ?? 'avc1.4d401e';
      if (!camera.audio) return text(['#EXTM3U', '#EXT-X-VERSION:1', `#EXT-X-STREAM-INF:CODECS="${codecs}",RESOLUTION=640x360,FRAME-RATE=15.0,BANDWIDTH=420000`, 'getHLSMediaPlaylist.m3u8?TrackNumber=1']);
      return text(['#EXTM3U', '#EXT-X-VERSION:1', '#EXT-X-MEDIA:AUTOSELECT=YES,FORCED=NO,TYPE=AUDIO,URI="getHLSMediaPlaylist.m3u8?TrackNumber=2",GROUP-ID="audio",DEFAULT=NO,NAME="audio"',
        `#EXT-X-STREAM-INF:CODECS="${codecs},mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=15.0,BANDWIDTH=480000,AUDIO="audio"`, 'getHLSMediaPlaylist.m3u8?TrackNumber=1']);
    }
    case 'getHLSMediaPlaylist.m3u8': {
      const now = Date.now();
      const live = !capability.end;
      const found = live ? list(camera, now - 40e3, now - FRAGMENT_MS).slice(-5) : list(camera, capability.start, Math.min(capability.end, now - FRAGMENT_MS)).slice(0, 1000);
      if (!found.length) throw wrong(404, 'ResourceNotFoundException', 'No fragments found in the stream for the streaming request.');
      const first = live ? found[0] / FRAGMENT_MS - Math.floor(started / DAY) * DAY / FRAGMENT_MS : 1;
      const lines = ['#EXTM3U', '#EXT-X-VERSION:7', ...(live ? [] : ['#EXT-X-PLAYLIST-TYPE:VOD']), '#EXT-X-TARGETDURATION:2', `#EXT-X-MEDIA-SEQUENCE:${first}`,
        `#EXT-X-DISCONTINUITY-SEQUENCE:${first}`, '#EXT-X-INDEPENDENT-SEGMENTS'];
      found.forEach((start, nth) => {
        if (nth > 0) lines.push('#EXT-X-DISCONTINUITY');
        if (nth === 0 || index(start) === 0) lines.push(`#EXT-X-MAP:URI="getMP4InitFragment.mp4?TrackNumber=${track}"`);
        lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(start).toISOString()}`, '#EXTINF:2.0,', `getMP4MediaFragment.mp4?FragmentNumber=${number(start)}&TrackNumber=${track}`);
      });
      if (!live) lines.push('#EXT-X-ENDLIST');
      return text(lines);
    }
    case 'getMP4InitFragment.mp4': return bytes(look[`${kind}Init`]);
    case 'getMP4MediaFragment.mp4': return bytes(look[kind][index(Number(query.get('FragmentNumber').slice(-16)))]);
    default: throw wrong(404, 'ResourceNotFoundException', 'there is nothing at this path');
  }
}

function mock(path, query, response) {
  if (path === '/mock/token') {
    const exp = Math.floor(Date.now() / 1000) + Number(query.get('ttl') ?? 3600);
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    response.writeHead(200, { 'content-type': 'text/plain' });
    return response.end(`${part({ alg: 'none' })}.${part({ sub: query.get('sub') ?? 'alice', iss: 'https://mock.invalid/', groups: ['guards', 'night-shift'], exp })}.mock`);
  }
  if (path === '/mock/fault') {
    Object.assign(faults, { status: Number(query.get('status') ?? 503), left: Number(query.get('times') ?? 1), path: query.get('path') ?? '', after: Number(query.get('after') ?? 0) });
    return json(response, faults);
  }
  if (path === '/mock/camera') {
    const camera = cameras.find((camera) => camera.name === query.get('name'));
    if (query.has('denied')) camera.denied = query.get('denied') === '1';
    if (query.has('silent')) { camera.had ??= camera.has; const since = Date.now(); camera.has = query.get('silent') === '1' ? (time) => time < since && camera.had(time) : camera.had; }
    return json(response, {});
  }
  throw wrong(404, 'ResourceNotFoundException', 'no such part of the mock');
}

function authenticate(request) {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? /(?:^|; )access=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
  if (!token) throw wrong(401, 'NotAuthorizedException', 'no token', { 'www-authenticate': 'Bearer realm="kvs-edge"' });
  let claims;
  try { claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url')); } catch { throw wrong(401, 'NotAuthorizedException', 'this is not a JWT'); }
  if (!claims.exp || claims.exp * 1000 < Date.now()) throw wrong(401, 'NotAuthorizedException', 'the token has expired');
  return claims;
}

const describe = (camera) => ({
  name: camera.name, arn: `arn:aws:kinesisvideo:eu-west-1:123456789012:stream/${camera.name}/1700000000000`, status: 'ACTIVE',
  created: new Date(started - 40 * DAY).toISOString(), retention_hours: camera.keeps / HOUR, media_type: camera.audio ? 'video/h264,audio/aac' : 'video/h264', actions: camera.actions ?? all,
});

function list(camera, start, end) {
  const found = [];
  const now = Date.now() - 400;
  const from = Math.max(start, now - camera.keeps);
  for (let at = Math.ceil(from / FRAGMENT_MS) * FRAGMENT_MS; at <= Math.min(end, now); at += FRAGMENT_MS) if (camera.has(at)) found.push(at);
  return found;
}

const index = (start) => Math.floor(start / FRAGMENT_MS) % FRAGMENTS;
const number = (start) => `9134385233318${String(start).padStart(34, '0')}`;
const time = (text) => { const at = /^\d+(\.\d+)?$/.test(text ?? '') ? Number(text) * 1000 : Date.parse(text ?? ''); if (Number.isNaN(at)) throw wrong(400, 'InvalidArgumentException', `${text} is no time`); return at; };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const wrong = (status, type, message, headers = {}) => Object.assign(new Error(message), { status, type, headers });

function fail(response, status, type, message, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', 'x-amzn-errortype': type, 'cache-control': 'no-store', ...headers });
  response.end(JSON.stringify({ Message: message }));
}

function json(response, value) {
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
}

function file(path, response) {
  const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
  const elsewhere = JSON.parse(process.env.MOCK_ISSUERS ?? '[]').map((issuer) => ` ${new URL(issuer.token_endpoint).origin}`).join('');
  response.writeHead(200, {
    'content-type': types[extname(path)] ?? 'application/octet-stream',
    'cache-control': path.startsWith('/console/') ? 'public, max-age=31536000, immutable' : 'no-cache',
    'content-security-policy': `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'${elsewhere}; frame-src 'self'${elsewhere}; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'`,
  });
  response.end(readFileSync(join(dist, path)));
}
