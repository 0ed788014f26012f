import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { entryAliases } from './test/entry-aliases.js'

const root = fileURLToPath(new URL('.', import.meta.url))

/** Tests import `src/` and run the compiled `dist/`: what is tested is what ships, workers included. `npm test` builds first. */
export default defineConfig({
  resolve: {
    alias: [
      { find: /^(\.\.\/)+src\//, replacement: `${root}dist/` },
      { find: /^(\.\.\/)+models\//, replacement: `${root}dist/models/` },
      ...entryAliases(root),
    ],
  },
  test: {
    env: { ORT_DISABLE_TELEMETRY: '1' },
    include: ['test/**/*.test.ts'],
    exclude: ['test/{bench,experiments,torture}/**'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/skipped-reporter.ts'],
    // Node loads the compiled library itself: quicker than through Vite, and as users load it.
    server: { deps: { external: [/\/dist\//] } },
    globalSetup: './test/web/shared-build.ts',
    pool: 'forks',
    // A third worker makes the suite slower on two cores: 637 s for 568 s.
    maxWorkers: 2,
  },
})
