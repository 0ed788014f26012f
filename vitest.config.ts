import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { entryAliases } from './test/entry-aliases.js'

const root = fileURLToPath(new URL('.', import.meta.url))

/** Files whose tests use a browser. Those of one process share a Chromium. */
const browser = ['test/{web,playground}/**/*.test.ts']

/** Files that only `npm run test:tools` runs. */
export const inTools = ['test/{bench,experiments,gpu,torture}/**/*.test.ts', 'test/web/{next,operators}.test.ts']

/**
 * Files whose tests start a GPU, replace functions of Node or modules, or measure the process, and the longest ones: each has its
 * own process.
 */
const isolated = [
  'test/cli/{crash,run-folder,train}.test.ts',
  'test/docs/{add-an-operator,examples,guides}.test.ts',
  'test/lowering/{lowerings,models,recurrent}.test.ts',
  'test/{bundlers,package}.test.ts',
  'test/backend/onnx/webgpu.test.ts',
  'test/node/{c-api*,durability,every-runtime,helper-memory,model,model-bytes,runtime,session-options,webgpu*}.test.ts',
  'test/node/data/csv.test.ts',
  'test/optim/expr/policy.test.ts',
  'test/playground/{provider,session}.test.ts',
  'test/recipe/{paper,preset-model}.test.ts',
  'test/train/device-average.test.ts',
  'test/train/graphs/recompute.test.ts',
]

/**
 * Tests import `src/` and run the compiled `dist/`: what is tested is what ships, workers included. `npm test` builds
 * first.
 */
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
    // The machine may be slow and shared: no limit is near what a test takes.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    reporters: ['default', './test/skipped-reporter.ts'],
    // Node loads the compiled library itself: quicker than through Vite, and as users load it.
    server: { deps: { external: [/\/dist\//] } },
    pool: 'forks',
    // A third worker makes the suite slower on two cores: 637 s for 568 s.
    maxWorkers: 2,
    // Vitest sorts projects by name: the files that take minutes start first.
    projects: [
      {
        extends: true,
        test: {
          name: 'browser',
          include: browser,
          exclude: [...isolated, ...inTools],
          globalSetup: './test/shared-build.ts',
          isolate: false,
        },
      },
      { extends: true, test: { name: 'isolated', include: isolated, globalSetup: './test/shared-build.ts' } },
      {
        extends: true,
        test: {
          name: 'shared process',
          include: ['test/**/*.test.ts'],
          exclude: [...browser, ...isolated, ...inTools],
          // Half the time of a small file is that of a process and of the library's import in it.
          isolate: false,
        },
      },
    ],
  },
})
