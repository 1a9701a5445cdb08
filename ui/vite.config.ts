import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// What 'npm run dev' asks.
const server = process.env.DEEPTRACE_SERVER ?? 'http://127.0.0.1:7901';

// The page is embedded in the binary: relative addresses, no hashes in names, so that a rebuild
// of the same sources gives the same files.
export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    target: 'es2022',
    chunkSizeWarningLimit: 300,
    rollupOptions: {
      output: {
        entryFileNames: 'assets/page.js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/page[extname]',
      },
    },
  },
  server: { proxy: { '^/(traces|spans|analytics|alerts|v1|status|login|logout|ws)': { target: server, ws: true } } },
  test: { include: ['src/**/*.test.ts'] },
});
