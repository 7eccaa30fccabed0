// How the page becomes files: everything but index.html under /console/ with its content's hash in its name, so that
// the gateway may let browsers keep it for ever. During `npm run dev` the stand-in gateway answers (`npm run mock`).
// Beside each text file stand its forms in brotli and gzip, made once here as small as they get.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

const gateway = process.env['GATEWAY'] ?? 'http://127.0.0.1:8099';

function compressed(): Plugin {
  let folder = '';
  return {
    name: 'compressed',
    apply: 'build',
    configResolved: (config) => { folder = join(config.root, config.build.outDir); },
    closeBundle: () => {
      for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
        if (!/\.(html|js|css|svg)$/.test(entry)) continue;
        const bytes = readFileSync(join(folder, entry));
        const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
        for (const [ending, body] of [['br', brotli], ['gz', gzipSync(bytes, { level: 9 })]] as const) {
          if (body.length < bytes.length) writeFileSync(join(folder, `${entry}.${ending}`), body);
        }
      }
    },
  };
}

export default defineConfig({
  plugins: [compressed()],
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    assetsDir: 'console',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    // hls.js is one chunk of 190 KB gzipped; it is loaded lazily, after the page stands.
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: Object.fromEntries(['/streams', '/getHLSStreamingSessionURL', '/hls', '/console/me', '/console/session', '/console/config.json', '/mock'].map((path) => [path, gateway])) },
});
