import { allocate } from '../runtime/allocate.js'
import { checkFeeds } from '../runtime/feeds.js'
import { fromOrt } from '../runtime/from-ort.js'
import { gone } from '../runtime/gone.js'
import type { Program, Runtime } from '../runtime/runtime.js'
import { createSession, type InferenceSession, inputsOf, loadOrt, runSession, startProvider, toOrt } from './ort.js'
import { Turns } from './turns.js'
import type { WasmOptions } from './wasm.js'

const turns = new Turns()

/** Starts onnxruntime-web in WebAssembly. @throws 'runtime' with the reason */
export async function startWasm(options: WasmOptions): Promise<Runtime> {
  const ort = await loadOrt('onnxruntime-web/wasm', () => import('onnxruntime-web/wasm'), options, {
    wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.wasm', import.meta.url),
    mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.mjs', import.meta.url),
  })
  const threads = ort.env.wasm.numThreads ?? 1
  const sessionOptions: InferenceSession.SessionOptions = {
    logSeverityLevel: 3,
    graphOptimizationLevel: options.graphOptimizationLevel ?? 'all',
    enableMemPattern: false,
    executionProviders: ['wasm'],
  }
  await turns.take(() => startProvider(ort, 'wasm', sessionOptions))
  const open = new Set<InferenceSession>()
  let disposed: Promise<void> | undefined
  const end = async (session: InferenceSession) => {
    if (open.delete(session)) await session.release()
  }
  return {
    description: `onnxruntime-web ${ort.env.versions.web}, wasm, ${threads} thread${threads === 1 ? '' : 's'}`,
    provider: 'wasm',
    allocate,
    compile(model) {
      return turns.take(async () => {
        if (disposed) throw gone('runtime', 'disposed')
        const session = await createSession(ort, model, sessionOptions)
        open.add(session)
        const inputs = inputsOf(session)
        const { outputNames } = session
        let released: Promise<void> | undefined
        const program: Program = {
          inputNames: inputs.map(({ name }) => name),
          outputNames,
          async run(feeds) {
            if (disposed) throw gone('runtime', 'disposed')
            if (released) throw gone('program', 'released')
            const tensors = checkFeeds(inputs, feeds)
            return turns.take(async () => {
              const own = inputs.map(({ name }, i) => [name, toOrt(ort, tensors[i]!)] as const)
              const results = await runSession(session, Object.fromEntries(own))
              return Object.fromEntries(outputNames.map((name) => [name, fromOrt(results[name]!)]))
            })
          },
          release() {
            released ??= disposed ?? turns.take(() => end(session))
            return released
          },
        }
        return program
      })
    },
    dispose() {
      disposed ??= turns.take(async () => {
        for (const session of open) await end(session)
      })
      return disposed
    },
  }
}
