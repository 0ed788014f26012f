import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vitest/config'
import { entryAliases } from './test/entry-aliases.js'

const root = fileURLToPath(new URL('.', import.meta.url))

/** Makes `node()` run in the caller's thread by default: its worker thread would need the compiled file. */
const inProcess: Plugin = {
  name: 'in-process',
  transform(code, id) {
    if (!id.endsWith('/src/node/runtime.ts')) return null
    const changed = code.replace('worker = true', 'worker = false')
    if (changed === code) throw new Error('src/node/runtime.ts: no default `worker = true` to replace')
    return changed
  },
}

const sourceAliases = entryAliases(root).map(({ find, replacement }) => ({
  find,
  replacement: replacement.replace('/dist/models/', '/models/').replace('/dist/', '/src/').replace(/\.js$/, '.ts'),
}))

/** Files that need a build, a browser, a process or a package install. */
const outside = [
  'test/{cli,docs,experiments,web}/**',
  'test/package.test.ts',
  'test/optim/expr/policy.test.ts',
  'test/node/{c-api*,every-runtime,runtime,webgpu*}.test.ts',
]

/** Files that take more than about 4 s of a core, or test that the calling thread stays free. */
const slow = [
  'test/backend/onnx/onnx-backend.test.ts',
  'test/lowering/{convolution,lowerings,models,recurrent}.test.ts',
  'test/grad/recurrent.test.ts',
  'test/data/augment/crops.test.ts',
  'test/onnx/hostile.test.ts',
  'test/onnx/upgrade/{microsoft-attention,resize}.test.ts',
]

/** `npm run test:fast`: from source, without a build, in the caller's thread. */
export default defineConfig({
  plugins: [inProcess],
  resolve: { alias: sourceAliases },
  test: {
    env: { ORT_DISABLE_TELEMETRY: '1', ONNX_IRE_TEST_LANE: 'fast' },
    include: ['test/**/*.test.ts'],
    exclude: [...outside, ...slow],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    isolate: false,
    maxWorkers: 2,
  },
})
