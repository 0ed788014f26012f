import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { entryAliases } from './test/entry-aliases.js'

const root = fileURLToPath(new URL('.', import.meta.url))

const sourceAliases = entryAliases(root).map(({ find, replacement }) => ({
  find,
  replacement: replacement.replace('/dist/models/', '/models/').replace('/dist/', '/src/').replace(/\.js$/, '.ts'),
}))

/** Files that need a build (the compiled presets and recipes too), a browser, a process or a package install. */
const outside = [
  'test/{bench,cli,docs,experiments,gpu,playground,torture,web}/**',
  'test/{bundlers,package}.test.ts',
  'test/optim/expr/policy.test.ts',
  'test/recipe/{paper,preset-model}.test.ts',
  'test/node/{c-api*,every-runtime,helper-{memory,threads},runtime,webgpu*}.test.ts',
]

/** Files that take about 3 s of a core or more; `test/grad/rules.test.ts` takes longer and stays. */
const slow = [
  'test/adapter/{lora-ready,peft-training,train}.test.ts',
  'test/analysis/inspect/inspect.test.ts',
  'test/backend/{graph-rules,onnx/onnx-backend,trajectory}.test.ts',
  'test/data/augment/spatial.test.ts',
  'test/generated/kernels.test.ts',
  'test/grad/recurrent.test.ts',
  'test/language/{generate,merged-decoder,preference,training-model}.test.ts',
  'test/loss/{chunked,distillation,losses}.test.ts',
  'test/lowering/{convolution,lowerings,models,recurrent}.test.ts',
  'test/models/{reference,training}.test.ts',
  'test/node/{data/csv,data/documents,model}.test.ts',
  'test/onnx/{hostile-models,linear-time,proto/amplification,proto/hostile}.test.ts',
  'test/records.test.ts',
  'test/onnx/upgrade/{microsoft-attention,resize}.test.ts',
  'test/optim/{expr/each,ire/radix-select}.test.ts',
  'test/train/{device-average,every-optimizer,interrupted-interval,graphs/{gradient-model,recompute}}.test.ts',
]

/** `npm run test:fast`: from source, without a build. */
export default defineConfig({
  resolve: { alias: sourceAliases },
  test: {
    env: { ORT_DISABLE_TELEMETRY: '1', ONNX_IRE_TEST_LANE: 'fast' },
    include: ['test/**/*.test.ts'],
    exclude: [...outside, ...slow],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    pool: 'forks',
    isolate: false,
    maxWorkers: 2,
  },
})
