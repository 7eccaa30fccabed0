// Runs in the page: one player, and a witness that sees what a person would. `?player=…&url=…`; results in `window.seen`.

const query = new URLSearchParams(location.search);
const video = document.querySelector('video');
const began = performance.now();
const at = () => Math.round(performance.now() - began) / 1000;

/** Times are seconds since the page began; a stall is a time without a new picture after the first one. */
const seen = {
  version: '', frames: 0, dropped: 0, first: null, position: 0, ended: false,
  stalls: [], jumps: [], errors: [], fatal: [], now: 0,
};
window.seen = seen;
const note = (list, text) => { if (list.length < 500) list.push({ at: at(), text: String(text).slice(0, 300) }); };

/** A picture every 66 ms is what the cameras send; half a second without one is what people notice. */
const NOTICED = 0.5;
let last = { frames: 0, position: 0, at: 0 };
setInterval(() => {
  const now = at();
  const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
  seen.now = now;
  seen.dropped = droppedVideoFrames;
  seen.position = video.currentTime;
  seen.ended = video.ended;
  // Seconds of video ahead of the playhead.
  const ranges = [...Array(video.buffered.length).keys()].map((n) => [video.buffered.start(n), video.buffered.end(n)]);
  seen.buffer = Math.round(10 * (ranges.find(([from, to]) => from <= video.currentTime + 0.1 && video.currentTime < to)?.[1] - video.currentTime || 0)) / 10;
  const moved = video.currentTime - last.position;
  // Some players make the element anew, whose count begins at 0 again.
  const more = totalVideoFrames >= last.frames ? totalVideoFrames - last.frames : totalVideoFrames;
  seen.frames += more;
  if (more > 0 && moved !== 0) {
    if (seen.first === null) seen.first = now;
    else {
      if (now - last.at > NOTICED) seen.stalls.push({ at: last.at, seconds: Math.round((now - last.at) * 10) / 10 });
      if (moved > now - last.at + 1 || moved < -0.5) seen.jumps.push({ at: now, seconds: Math.round(moved * 10) / 10 });
    }
    last = { frames: totalVideoFrames, position: video.currentTime, at: now };
  } else last.frames = totalVideoFrames;
  // A stall that still lasts, so that nobody misses it.
  seen.silent = seen.first !== null && !video.ended ? Math.round((now - last.at) * 10) / 10 : 0;
}, 50);
video.addEventListener('error', () => note(seen.fatal, `element: ${video.error?.code} ${video.error?.message}`));

const script = (src) => new Promise((resolve, reject) => {
  const element = Object.assign(document.createElement('script'), { src, onload: resolve, onerror: () => reject(new Error(src)) });
  document.head.append(element);
});

// Each as its own documentation starts it, without settings.
const players = {
  async 'hls.js'(url) {
    await script('/lib/hls.js/dist/hls.js');
    const hls = new Hls();
    seen.version = Hls.version;
    hls.on(Hls.Events.ERROR, (_, { type, details, fatal, response, error }) => note(fatal ? seen.fatal : seen.errors, `${type} ${details} ${response?.code ?? ''} ${error?.message ?? ''}`));
    hls.loadSource(url);
    hls.attachMedia(video);
    window.player = hls;
  },
  async 'Shaka Player'(url) {
    await script('/lib/shaka-player/dist/shaka-player.compiled-es2021.debug.js');
    shaka.polyfill.installAll();
    shaka.log?.setLevel(shaka.log.Level.ERROR);
    const player = new shaka.Player();
    seen.version = shaka.Player.version;
    const told = (error) => { if (error.stack && !error.severity) console.log(error.stack); return told_(error); };
    const told_ = (error) => note(error.severity === shaka.util.Error.Severity.CRITICAL ? seen.fatal : seen.errors, `${error.code} ${error.message ?? ''} ${JSON.stringify(error.data ?? []).slice(0, 160)}`);
    player.addEventListener('error', ({ detail }) => told(detail));
    window.player = player;
    await player.attach(video);
    await player.load(url).catch(told);
  },
  async 'dash.js'(url) {
    await script('/lib/dashjs/dist/modern/umd/dash.all.debug.js');
    const player = dashjs.MediaPlayer().create();
    seen.version = player.getVersion();
    player.updateSettings({ debug: { logLevel: dashjs.Debug.LOG_LEVEL_ERROR } });
    // dash.js has no word for what is fatal: what it cannot mend by itself it says as `error`, and resets.
    player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => note(seen.errors, `${error?.code} ${error?.message}`));
    player.on(dashjs.MediaPlayer.events.PLAYBACK_ERROR, ({ error }) => note(seen.fatal, `${error?.code} ${error?.message}`));
    player.initialize(video, url, true);
    window.player = player;
  },
  async 'video.js'(url) {
    await script('/lib/video.js/dist/video.js');
    const player = videojs(video, { liveui: true, autoplay: 'muted', html5: { vhs: { overrideNative: true } } });
    seen.version = videojs.VERSION;
    player.on('error', () => note(seen.fatal, `${player.error()?.code} ${player.error()?.message}`));
    player.src({ src: url, type: url.includes('.mpd') ? 'application/dash+xml' : 'application/vnd.apple.mpegurl' });
    window.player = player;
    player.ready(() => player.tech(true)?.vhs?.playlistController_?.on?.('error', (event) => note(seen.errors, event?.metadata?.error ?? 'segment or playlist')));
  },
};

video.muted = true;
window.addEventListener('error', ({ message }) => note(seen.errors, `page: ${message}`));
window.addEventListener('unhandledrejection', ({ reason }) => note(seen.errors, `page: ${reason?.stack ?? reason?.code ?? reason}`));
await players[query.get('player')](query.get('url'));
setInterval(() => { if (video.paused && !video.ended && video.readyState >= 2) video.play().catch(() => undefined); }, 200);
