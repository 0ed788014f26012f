import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-web/wasm'
import { type Reproducers, throwing } from '../issue.js'
import { noise, of, op, type Probe, probe } from '../model.js'
import { runNode } from '../node.js'

const require = createRequire(import.meta.url)

/** Loads onnxruntime-web's WebAssembly build, which runs in Node too. */
async function loadWasm() {
  const ort = await import('onnxruntime-web/wasm')
  ort.env.wasm.numThreads = 1
  ort.env.wasm.wasmBinary = readFileSync(require.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'))
  return ort
}

const options: InferenceSession.SessionOptions = { logSeverityLevel: 4, executionProviders: ['wasm'] }

async function start({ bytes, feeds }: Probe) {
  const ort = await loadWasm()
  const session = await ort.InferenceSession.create(bytes, options)
  const given: Record<string, OrtTensor> = Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, dims, data }]) => [
      name,
      new ort.Tensor(dtype as 'float32', data as Float32Array, dims),
    ]),
  )
  return { ort, session, given }
}

export const wasmIssues: Reproducers = {
  'web-wasm-preallocated-output-not-written': {
    run: async () => {
      const { ort, session, given } = await start(probe([of('float32', [2], 1, 2)], (x) => op.Add(x!, 1)))
      const own = Float32Array.of(-7, -7)
      const { y0 } = await session.run(given, { y0: new ort.Tensor('float32', own, [2]) })
      const returned = [...(y0!.data as Float32Array)]
      const detail = `[1, 2] + 1 with a preallocated output: returned [${returned}], the given array holds [${[...own]}]`
      return { present: returned[0] !== 2 || own[0] !== 2, detail }
    },
  },
  'web-wasm-runs-starve-timers': {
    run: async () => {
      const { session, given } = await start(probe([of('float32', [2], 1, 2)], (x) => op.Add(x!, 1)))
      let ticks = 0
      const timer = setInterval(() => ticks++, 1)
      const begin = performance.now()
      let runs = 0
      for (; performance.now() - begin < 300; runs++) await session.run(given)
      clearInterval(timer)
      return { present: ticks < 3, detail: `${runs} awaited runs in 300 ms let ${ticks} ticks of a 1 ms timer through` }
    },
  },
  'web-wasm-einsum-repeated-index': {
    run: async () => {
      const model = probe([noise('float32', [1, 1]), noise('float32', [4], 1)], (a, b) =>
        op.Einsum([a!, b!], { equation: 'ii,i->i' }),
      )
      await runNode(model)
      return throwing(() => start(model).then(({ session, given }) => session.run(given)), /Can't merge shape info/)
    },
  },
}
