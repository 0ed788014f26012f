import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('.', import.meta.url))

/** Tests import `src/` and run the compiled `dist/`: what is tested is what ships, workers included. `npm test` builds first. */
export default defineConfig({
  resolve: {
    alias: [
      { find: /^(\.\.\/)+src\//, replacement: `${root}dist/` },
      { find: /^(\.\.\/)+models\//, replacement: `${root}dist/models/` },
      { find: /^onnx-ire$/, replacement: `${root}dist/index.js` },
      { find: /^onnx-ire\/node$/, replacement: `${root}dist/node/index.js` },
      { find: /^onnx-ire\/web$/, replacement: `${root}dist/web/index.js` },
    ],
  },
  test: {
    env: { ORT_DISABLE_TELEMETRY: '1' },
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    reporters: ['default', './test/skipped-reporter.ts'],
    pool: 'forks',
    maxWorkers: 2,
  },
})
