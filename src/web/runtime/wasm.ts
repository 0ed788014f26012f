import { checkFeeds } from '../../runtime/feeds.js'
import { skipNeedlessPasses } from '../../runtime/graph-passes.js'
import { fromOrtTensor, inputsOf } from '../../runtime/ort.js'
import type { Program, Runtime } from '../../runtime/runtime.js'
import { allocate, disposedError } from '../../runtime/runtime.js'
import { checkNames } from '../../util/check.js'
import {
  createSession,
  type InferenceSession,
  loadOrt,
  runSession,
  startProvider,
  toOrtTensor,
  withData,
} from './ort.js'
import type { WasmSettings } from './wasm-settings.js'
import { YieldingQueue } from './yielding-queue.js'

/** Queue of all calls, of every runtime: onnxruntime's WebAssembly does not accept overlapping ones. */
const queue = new YieldingQueue()

/** Options of `wasm`. */
export interface WasmOptions extends WasmSettings {
  /** Level of onnxruntime's graph optimizations. Default 'all'. */
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all' | undefined
}

/**
 * Creates a runtime with onnxruntime-web in WebAssembly, on the CPU. A run blocks the calling thread: use it in a Web
 * Worker to keep the page responsive.
 * @throws OnnxIreError `invalid-option`, and `runtime` if it cannot start, with the reason
 * @example
 * const runtime = await wasm()
 */
export async function wasm(options: WasmOptions = {}): Promise<Runtime & AsyncDisposable> {
  checkNames('wasm', options, ['wasmPaths', 'threads', 'graphOptimizationLevel'])
  const ort = await loadOrt('onnxruntime-web/wasm', () => import('onnxruntime-web/wasm'), options, {
    wasm: new URL('onnxruntime-web/ort-wasm-simd-threaded.wasm', import.meta.url),
    mjs: new URL('onnxruntime-web/ort-wasm-simd-threaded.mjs', import.meta.url),
  })
  const threads = ort.env.wasm.numThreads ?? 1
  const sessionOptions: InferenceSession.SessionOptions = {
    logSeverityLevel: 3,
    graphOptimizationLevel: options.graphOptimizationLevel ?? 'all',
    enableMemPattern: false,
    // DequantizeLinear and MatMul become MatMulNBits, by default with activations rounded to 8 bits.
    extra: { session: { qdq_matmulnbits_accuracy_level: '0' } },
    executionProviders: ['wasm'],
  }
  await queue.run(async () => (await startProvider(ort, 'wasm', sessionOptions)).release())
  const open = new Set<InferenceSession>()
  let disposed: Promise<void> | undefined
  const end = async (session: InferenceSession) => {
    if (open.delete(session)) await session.release()
  }
  const dispose = () => {
    disposed ??= queue.run(async () => {
      for (const session of open) await end(session)
    })
    return disposed
  }
  return {
    description: `onnxruntime-web ${ort.env.versions.web}, wasm, ${threads} thread${threads === 1 ? '' : 's'}`,
    provider: 'wasm',
    readsBytes: true,
    allocate,
    compile(model, { operators, externalData } = {}) {
      return queue.run(async () => {
        if (disposed) throw disposedError('runtime', 'disposed')
        const own = operators ? skipNeedlessPasses(sessionOptions, operators) : sessionOptions
        const session = await createSession(ort, model, withData(own, externalData))
        open.add(session)
        if (disposed) throw disposedError('runtime', 'disposed')
        const inputs = inputsOf(session)
        const { outputNames } = session
        let released: Promise<void> | undefined
        const program: Program = {
          inputNames: inputs.map(({ name }) => name),
          outputNames,
          async run(feeds) {
            if (disposed) throw disposedError('runtime', 'disposed')
            if (released) throw disposedError('program', 'released')
            const tensors = checkFeeds(inputs, feeds)
            return queue.run(async () => {
              const own = inputs.map(({ name }, i) => [name, toOrtTensor(ort, tensors[i]!)] as const)
              const results = await runSession(session, Object.fromEntries(own))
              return Object.fromEntries(outputNames.map((name) => [name, fromOrtTensor(results[name]!)]))
            })
          },
          release() {
            released ??= disposed ?? queue.run(() => end(session))
            return released
          },
        }
        return program
      })
    },
    dispose,
    [Symbol.asyncDispose]: dispose,
  }
}
