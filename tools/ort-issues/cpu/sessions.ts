import { firstLine, type Reproducers, throwing } from '../issue.js'
import { create, edit, filled, noise, of, op, probe } from '../model.js'
import { loadNode, quiet, toFeeds, toOrt } from '../node.js'

/** x0 + 1 */
const plusOne = () => probe([of('float32', [2], 1, 2)], (x) => op.Add(x!, 1))

/** A model that keeps one processor busy: products of square matrices. */
const busy = (size: number, products: number) =>
  probe([noise('float32', [size, size])], (x) => {
    let y = x!
    for (let i = 0; i < products; i++) y = op.Mul(op.MatMul(y, x!), 0.01)
    return [y, op.ReduceMax(x!, [0, 1])]
  })

const milliseconds = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

export const sessionIssues: Reproducers = {
  'unknown-feeds-ignored': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = plusOne()
      const session = await ort.InferenceSession.create(bytes, quiet)
      const given = { ...toFeeds(ort, feeds), nonsense: toOrt(ort, of('float32', [1], 5)) }
      const finding = await throwing(() => session.run(given), /nonsense/)
      return finding.present
        ? { present: false, detail: finding.detail }
        : { present: true, detail: "a feed named 'nonsense' is accepted without an error" }
    },
  },
  'initializer-inputs-not-fed': {
    run: async () => {
      const ort = loadNode()
      const { bytes } = probe([of('float32', [2], 1, 2), of('float32', [2], 0, 0)], (x, w) => op.Add(x!, w!), {
        change: (model) => {
          const initializer = create('TensorProto', {
            name: 'x1',
            dims: [2n],
            dataType: 1,
            floatData: Float32Array.of(10, 20),
          })
          return edit(model, { graph: edit(model.graph!, { initializer: [initializer] }) })
        },
      })
      const session = await ort.InferenceSession.create(bytes, quiet)
      const feeds = toFeeds(ort, { x0: of('float32', [2], 1, 2), x1: of('float32', [2], 100, 200) })
      const { y0 } = await session.run(feeds)
      const got = [...(y0!.data as Float32Array)]
      const detail = `inputNames: ${session.inputNames.join(', ')}; 1 + 100 (fed), or 1 + 10 (initializer): ${got[0]}`
      return { present: got[0] === 11, detail }
    },
  },
  'undefined-options-throw': {
    run: () =>
      throwing(
        () => loadNode().InferenceSession.create(plusOne().bytes, { ...quiet, extra: undefined } as never),
        /object|undefined|argument|expected/i,
      ),
  },
  'bfloat16-inputs-and-outputs': {
    run: () => {
      const { bytes } = probe([filled('bfloat16', [2], 1)], (x) => op.Identity(x!))
      return throwing(() => loadNode().InferenceSession.create(bytes, quiet), /Unsupported data type|bfloat16/i)
    },
  },
  'free-dimension-overrides-ignored': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = probe([noise('float32', [2, 3])], (x) => op.Shape(x!), { symbolic: true })
      const session = await ort.InferenceSession.create(bytes, { ...quiet, freeDimensionOverrides: { d0_0: 7 } })
      try {
        const { y0 } = await session.run(toFeeds(ort, feeds))
        const shape = [...(y0!.data as BigInt64Array)]
        const detail = `with freeDimensionOverrides { d0_0: 7 } a [2, 3] tensor is accepted and has the shape [${shape}]`
        return { present: shape[0] === 2n, detail }
      } catch (error) {
        return { present: false, detail: firstLine(error) }
      }
    },
  },
  'models-over-2-gib': {
    run: async () => {
      const { InferenceSession } = loadNode()
      // Zeros are no model: the issue is that a long one is rejected for its length, before it is parsed.
      await throwing(() => InferenceSession.create(new Uint8Array(64), quiet), /protobuf parsing failed/)
      try {
        await InferenceSession.create(new Uint8Array(2 ** 31 + 64), quiet)
        return { present: false, detail: 'no error' }
      } catch (error) {
        return { present: /exceeds maximum supported size/.test(firstLine(error)), detail: firstLine(error) }
      }
    },
  },
  'no-provider-fallback': {
    run: async () => {
      const options = { ...quiet, executionProviders: ['cuda', 'cpu'] }
      const { InferenceSession } = loadNode()
      const { bytes } = plusOne()
      // A machine with CUDA does not show the issue.
      const alone = await throwing(
        () => InferenceSession.create(bytes, { ...options, executionProviders: ['cuda'] }),
        /cuda/i,
      )
      if (!alone.present) return { present: false, detail: 'CUDA starts here' }
      return throwing(() => InferenceSession.create(bytes, options), /cuda/i)
    },
  },
  'unfetched-outputs-computed': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = busy(512, 12)
      const session = await ort.InferenceSession.create(bytes, { ...quiet, intraOpNumThreads: 1 })
      const given = toFeeds(ort, feeds)
      await session.run(given)
      const all = await milliseconds(() => session.run(given))
      const cheap = await milliseconds(() => session.run(given, ['y1']))
      const detail = `all outputs ${all.toFixed(0)} ms, only the cheap one ${cheap.toFixed(0)} ms`
      return { present: cheap > all / 4, detail }
    },
  },
  'node-run-blocks-event-loop': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = busy(512, 30)
      const session = await ort.InferenceSession.create(bytes, { ...quiet, intraOpNumThreads: 1 })
      let ticks = 0
      const timer = setInterval(() => ticks++, 1)
      const took = await milliseconds(() => session.run(toFeeds(ort, feeds)))
      clearInterval(timer)
      return {
        present: ticks < 3,
        detail: `a run of ${took.toFixed(0)} ms lets ${ticks} ticks of a 1 ms timer through`,
      }
    },
  },
  'node-preallocated-outputs-copied': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = plusOne()
      const session = await ort.InferenceSession.create(bytes, quiet)
      const own = new Float32Array(2)
      const { y0 } = await session.run(toFeeds(ort, feeds), { y0: new ort.Tensor('float32', own, [2]) })
      const returned = y0!.data as Float32Array
      const shared = returned.buffer === own.buffer
      const detail = `the given array holds [${[...own]}]; the returned tensor ${shared ? 'is over it' : 'is over another array'}`
      return { present: !shared, detail }
    },
  },
  'node-shared-memory-rejected': {
    run: async () => {
      const ort = loadNode()
      const { bytes } = plusOne()
      const session = await ort.InferenceSession.create(bytes, quiet)
      const shared = new Float32Array(new SharedArrayBuffer(8))
      return throwing(() => session.run({ x0: new ort.Tensor('float32', shared, [2]) }), /Invalid argument|shared/i)
    },
  },
  'aliased-output-unchecked': {
    run: async () => {
      const ort = loadNode()
      // r = p + p is computed after q = p - 1 has been written over p.
      const { bytes } = probe([of('float32', [2], 1, 2)], (p) => {
        const q = op.Sub(p!, 1)
        return [q, op.Add(op.Add(p!, p!), op.Mul(q, 0))]
      })
      const session = await ort.InferenceSession.create(bytes, { ...quiet, graphOptimizationLevel: 'disabled' })
      const array = Float32Array.of(1, 2)
      const { y1 } = await session.run(
        { x0: new ort.Tensor('float32', array, [2]) },
        { y0: new ort.Tensor('float32', array, [2]), y1: new ort.Tensor('float32', new Float32Array(2), [2]) },
      )
      const got = [...(y1!.data as Float32Array)]
      return { present: got[0] !== 2 || got[1] !== 4, detail: `p + p of [1, 2] with the output p - 1 over p: [${got}]` }
    },
  },
  'node-arena-not-shrunk': {
    run: async () => {
      const ort = loadNode()
      // Results of 64 MiB each, none of which is an output.
      const { bytes, feeds } = probe([filled('float32', [2 ** 24], 1)], (x) => {
        const parts = [1, 2, 3, 4, 5, 6].map((i) => op.Sin(op.Mul(x!, i)))
        return op.ReduceSum(
          parts.reduce((a, b) => op.Add(a, b)),
          [0],
        )
      })
      const session = await ort.InferenceSession.create(bytes, { ...quiet, enableMemPattern: false })
      const given = toFeeds(ort, feeds)
      const run = { extra: { memory: { enable_memory_arena_shrinkage: 'cpu:0' } } }
      const before = process.memoryUsage.rss()
      await session.run(given, run as never)
      const after = process.memoryUsage.rss()
      const kept = (after - before) / 2 ** 20
      const detail = `memory.enable_memory_arena_shrinkage as a run option: ${kept.toFixed(0)} MiB stay in the arena after the run`
      return { present: kept > 64, detail }
    },
  },
  'node-memory-pattern-costs-memory': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = probe([filled('float32', [2 ** 22], 1)], (x) => {
        const parts = Array.from({ length: 8 }, (_, i) => op.Sin(op.Mul(x!, i + 1)))
        return op.ReduceSum(
          parts.reduce((a, b) => op.Add(op.Mul(a, b), a)),
          [0],
        )
      })
      const given = toFeeds(ort, feeds)
      const cost = async (enableMemPattern: boolean) => {
        const session = await ort.InferenceSession.create(bytes, { ...quiet, enableMemPattern })
        const before = process.memoryUsage.rss()
        for (let i = 0; i < 3; i++) await session.run(given)
        return (process.memoryUsage.rss() - before) / 2 ** 20
      }
      const [without, with_] = [await cost(false), await cost(true)]
      const detail = `memory of three runs: ${without.toFixed(0)} MiB without a memory pattern, ${with_.toFixed(0)} MiB with one (the default)`
      return { present: with_ > 1.2 * without, detail }
    },
  },
  'node-threads-spin': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = busy(256, 4)
      const given = toFeeds(ort, feeds)
      /**
       * Milliseconds of CPU time in the 20 ms after each of 10 runs, in which nothing is asked of the session.
       */
      const idle = async (extra: object) => {
        const session = await ort.InferenceSession.create(bytes, { ...quiet, intraOpNumThreads: 2, ...extra })
        let used = 0
        for (let i = 0; i < 10; i++) {
          await session.run(given)
          const before = process.cpuUsage()
          await new Promise((resolve) => setTimeout(resolve, 20))
          const { user, system } = process.cpuUsage(before)
          used += (user + system) / 1000
        }
        await session.release()
        return used
      }
      const calm = await idle({ extra: { session: { force_spinning_stop: '1' } } })
      const spinning = await idle({})
      const detail = `CPU time after 10 runs: ${spinning.toFixed(0)} ms, ${calm.toFixed(0)} ms with force_spinning_stop`
      return { present: spinning > 2 * calm + 10, detail }
    },
  },
  'node-sessions-share-no-arena': {
    run: async () => {
      const ort = loadNode()
      const { bytes, feeds } = probe([filled('float32', [2 ** 23], 1)], (x) =>
        op.ReduceSum(
          [1, 2, 3, 4].map((i) => op.Sin(op.Mul(x!, i))).reduce((a, b) => op.Add(op.Mul(a, b), a)),
          [0],
        ),
      )
      const given = toFeeds(ort, feeds)
      const start = process.memoryUsage.rss()
      const costs: number[] = []
      for (let i = 0; i < 3; i++) {
        const options = { enableMemPattern: false, extra: { session: { use_env_allocators: '1' } } }
        const session = await ort.InferenceSession.create(bytes, { ...quiet, ...options })
        await session.run(given)
        costs.push((process.memoryUsage.rss() - start) / 2 ** 20)
      }
      const detail = `use_env_allocators, memory after one run of one, two and three sessions: ${costs.map((cost) => cost.toFixed(0)).join(', ')} MiB`
      return { present: costs[2]! > 1.5 * costs[0]!, detail }
    },
  },
}
