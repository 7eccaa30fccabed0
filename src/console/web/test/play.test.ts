import { describe, expect, it } from 'vitest';
import { beginAt, mediaAt, readAttributes, readMaster, readPieces, wallAt } from '../src/play/master';
import { beforeGap } from '../src/camera/live-window';
import { isFine, liveness, silentSince, wordsOf, type State } from '../src/play/state';
import { outcomeOf, Tally } from '../src/play/tally';
import { by } from '../src/play/attach';
import { backoff, diagnose, unplayable, worthAnotherTry, Pause } from '../src/play/trouble';
import { text } from '../src/text';

const URL_OF = 'https://edge.example/hls/v1/c4p/getHLSMasterPlaylist.m3u8';
const MASTER = '#EXTM3U\n#EXT-X-VERSION:1\n#EXT-X-MEDIA:AUTOSELECT=YES,TYPE=AUDIO,URI="getHLSMediaPlaylist.m3u8?TrackNumber=2",GROUP-ID="audio",NAME="audio"\n' +
  '#EXT-X-STREAM-INF:CODECS="avc1.42c032,mp4a.40.2",RESOLUTION=2592x1944,FRAME-RATE=15.01,BANDWIDTH=2583047,AUDIO="audio"\ngetHLSMediaPlaylist.m3u8?TrackNumber=1\n';
const MEDIA = ['#EXTM3U', '#EXT-X-TARGETDURATION:2', '#EXT-X-PROGRAM-DATE-TIME:2026-01-28T07:00:00.000Z', '#EXTINF:2.0,', 'a.mp4', '#EXTINF:1.5,', 'b.mp4',
  '#EXT-X-DISCONTINUITY', '#EXT-X-PROGRAM-DATE-TIME:2026-01-28T07:01:00.000Z', '#EXTINF:2.0,', 'c.mp4', '#EXT-X-ENDLIST'].join('\n');
const T = Date.parse('2026-01-28T07:00:00Z');

describe('playlists', () => {
  it('tell codecs, shape and the picture’s own playlist', () => {
    expect(readMaster(MASTER, URL_OF)).toEqual({ codecs: 'avc1.42c032,mp4a.40.2', width: 2592, height: 1944, frameRate: 15.01, hasSound: true, video: 'https://edge.example/hls/v1/c4p/getHLSMediaPlaylist.m3u8?TrackNumber=1' });
    expect(readMaster('#EXTM3U\n', URL_OF)).toBeUndefined();
    expect(readAttributes('A=1,B="x,y",C=z')).toEqual({ A: '1', B: 'x,y', C: 'z' });
  });

  it('map times over a gap, both ways', () => {
    const pieces = readPieces(MEDIA);
    expect(pieces.map((piece) => [piece.wall - T, piece.media])).toEqual([[0, 0], [2000, 2], [60_000, 3.5]]);
    expect(mediaAt(pieces, T + 2500)).toBeCloseTo(2.5);
    expect(mediaAt(pieces, T + 30_000)).toBe(3.5);
    expect(mediaAt(pieces, T + 63_000)).toBeUndefined();
    expect(wallAt(pieces, 3)).toBe(T + 3000);
    expect(wallAt(pieces, 4)).toBe(T + 60_500);
    expect(wallAt([], 1)).toBeUndefined();
  });

  it('begin where they should, and are left alone where they begin anyway', () => {
    expect(beginAt(MEDIA, T + 60_500)).toContain('#EXT-X-START:TIME-OFFSET=4.000');
    expect(beginAt(MEDIA, T - 5)).toBe(MEDIA);
    expect(beginAt(MASTER, T + 60_500)).toBe(MASTER);
  });
});

describe('live', () => {
  it('tells where the rest is when it begins behind a gap', () => {
    const live = { from: '2026-01-28T07:05:00.000Z', to: '2026-01-28T07:05:09.000Z', silent: false };
    expect(beforeGap({ live: { ...live, gap: { from: '2026-01-28T07:00:00.000Z', to: live.from } } })).toBe(T - 10_000);
    expect(beforeGap({ live: { ...live, gap: null } })).toBeUndefined();
    expect(beforeGap({ live: null })).toBeUndefined();
    expect(beforeGap({})).toBeUndefined();
  });
});

describe('trouble', () => {
  it('is told apart by who is at fault', () => {
    expect(diagnose(0).is).toBe('unreachable');
    expect(diagnose(401).is).toBe('signedOut');
    expect(diagnose(403).is).toBe('denied');
    expect(diagnose(404).is).toBe('missing');
    expect(diagnose(503).is).toBe('troubled');
    expect(diagnose(429, 'ThrottlingException', '', 3000)).toEqual({ is: 'busy', wait: 3000 });
    expect(diagnose(400, 'ClientLimitExceededException').is).toBe('busy');
    expect(diagnose(400, 'NoDataRetentionException')).toEqual({ is: 'broken', why: text.reason.noRetention });
    expect(diagnose(400, 'MissingCodecPrivateDataException')).toEqual({ is: 'broken', why: text.reason.noCodecData });
    expect(diagnose(400, 'UnsupportedStreamMediaTypeException', 'codec A_MS/ACM')).toEqual({ is: 'broken', why: text.reason.g711 });
  });

  it('is retried only where nobody decided', () => {
    expect([400, 401, 403, 404, 410].some(worthAnotherTry)).toBe(false);
    expect([0, 429, 500, 502, 503, 504, undefined].every(worthAnotherTry)).toBe(true);
    expect(backoff(1, 0.5)).toBe(1000);
    expect(backoff(99, 1)).toBeLessThanOrEqual(18_750);
  });

  it('explains codecs that a browser cannot decode', () => {
    const h264 = (type: string) => type.includes('avc1') || type.includes('mp4a');
    expect(unplayable('avc1.4d401e,mp4a.40.2', h264)).toBeUndefined();
    expect(unplayable('hvc1.1.6.L93.B0', h264)).toBe(text.reason.hevc);
    expect(unplayable('av01.0.04M.08', h264)).toContain('av01');
    expect(unplayable('avc1.4d401e', undefined)).toBe(text.reason.noMse);
  });
});

describe('states', () => {
  const all: State[] = [{ is: 'paused' }, { is: 'denied' }, { is: 'signedOut' }, { is: 'gone' }, { is: 'archive' }, { is: 'ended' }, { is: 'opening', since: T }, { is: 'waiting', since: T }, { is: 'buffering', since: T },
    { is: 'live' }, { is: 'live', behind: 4200 }, { is: 'delayed', behind: 30e3 }, { is: 'silent' }, { is: 'silent', last: T - 720e3 }, { is: 'silent', last: 'long ago' },
    { is: 'unreachable', until: T }, { is: 'troubled', until: T + 3000 }, { is: 'busy', until: T + 3000 }, { is: 'unsupported', why: 'x' }, { is: 'broken', why: 'x' }, { is: 'stills', why: 'x' }];

  it('all have words', () => {
    for (const state of all) expect(wordsOf(state, T + 6000, 'utc').title.length).toBeGreaterThan(3);
  });

  it('count seconds where somebody waits', () => {
    expect(wordsOf({ is: 'waiting', since: T }, T + 7000, 'utc').title).toContain('7 s');
    expect(wordsOf({ is: 'opening', since: T }, T + 9000, 'utc').detail).toContain('9 s');
    expect(wordsOf({ is: 'silent', last: T - 720e3 }, T, 'utc')).toMatchObject({ title: 'No signal since 06:48:00', detail: expect.stringContaining('12 min') });
  });

  it('call live live within what fragments allow', () => {
    expect(liveness(6000, 2000).is).toBe('live');
    expect(liveness(20_000, 2000)).toEqual({ is: 'delayed', behind: 20_000 });
    expect(liveness(20_000, 4000).is).toBe('live');
    expect(isFine(liveness(undefined, 2000))).toBe(true);
    expect(silentSince(T, 3000, T + 15e3)).toBeUndefined();
    expect(silentSince(T, 3000, T + 20e3)).toBe(T);
    expect(silentSince(NaN, 3000, T)).toBeUndefined();
  });
});

describe('the cache’s part', () => {
  it('is read from our own entry of Cache-Status', () => {
    expect(outcomeOf('kvs-edge; hit')).toBe('hit');
    expect(outcomeOf('kvs-edge; hit; ttl=376')).toBe('hit');
    expect(outcomeOf('kvs-edge; fwd=miss; stored')).toBe('miss');
    expect(outcomeOf('kvs-edge; fwd=miss; collapsed')).toBe('collapsed');
    expect(outcomeOf('kvs-edge; fwd=stale')).toBe('stale');
    expect(outcomeOf('kvs-edge; fwd=bypass')).toBe('bypass');
    expect(outcomeOf('kvs-edge; fwd=uri-miss, cdn; hit')).toBe('miss');
    expect(outcomeOf('other; hit')).toBe('unknown');
    expect(outcomeOf(null)).toBe('unknown');
  });

  it('is counted', () => {
    const tally = new Tally();
    for (let n = 0; n < 50; n++) tally.note({ outcome: n % 2 ? 'hit' : 'miss', bytes: 1000, ms: 5, firstByte: 2 }, 1 + n * 100);
    expect(tally.recent).toHaveLength(40);
    expect(tally.fragments).toBe(50);
    expect(tally.counts.hit).toBe(25);
    expect(tally.bytes).toBe(50_000);
    expect(tally.rate).toBeGreaterThan(9000);
  });
});

describe('requests after a failure', () => {
  it('wait for longer each time, and as long as the gateway asks for', () => {
    const pause = new Pause();
    expect(pause.isOver(0)).toBe(true);
    const waits = [1, 2, 3, 4, 5, 6, 7].map(() => pause.failed(0, undefined, 0.5));
    expect(waits).toEqual([1000, 2000, 4000, 8000, 15e3, 15e3, 15e3]);
    expect([pause.isOver(14_999), pause.isOver(15e3)]).toEqual([false, true]);
    expect(pause.failed(0, 60e3, 0.5)).toBe(60e3);
    pause.end();
    expect(pause.failed(0, undefined, 0.5)).toBe(1000);
  });
});

describe('a playback URL that replaces another', () => {
  it('has the same resource behind another capability', () => {
    const url = 'https://video.example.com/hls/v1/NEW-1_x/getHLSMasterPlaylist.m3u8';
    const asked = (rest: string) => by(url, `https://video.example.com/hls/v1/old/${rest}`);
    expect(asked('getMP4MediaFragment.mp4?FragmentNumber=1&TrackNumber=1')).toBe('https://video.example.com/hls/v1/NEW-1_x/getMP4MediaFragment.mp4?FragmentNumber=1&TrackNumber=1');
    expect(by(url, 'https://video.example.com/streams/a/live.m3u8')).toBe('https://video.example.com/streams/a/live.m3u8');
  });
});
