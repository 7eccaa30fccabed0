// How the page becomes files: everything but index.html under /console/ with its content's hash in its name, so that
// the gateway may let browsers keep it for ever. During `npm run dev` the stand-in gateway answers (`npm run mock`).
import { defineConfig } from 'vite';

const gateway = process.env['GATEWAY'] ?? 'http://127.0.0.1:8099';

export default defineConfig({
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
  server: { proxy: Object.fromEntries(['/streams', '/getHLSStreamingSessionURL', '/hls', '/console/me', '/console/config.json', '/mock'].map((path) => [path, gateway])) },
});
