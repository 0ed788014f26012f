import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { body } from '../../src/ir/body.js'
import type { DType } from '../../src/ir/dtype.js'
import { input, int64s, scalar } from '../../src/ir/leaf.js'
import type { TensorData } from '../../src/ir/tensor.js'
import type { Value } from '../../src/ir/value.js'
import { node } from '../../src/node/runtime/node.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { op } from '../../src/op/op.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { needs } from '../requirements.js'
import { floats } from '../runtime/samples.js'
import { webgpu } from './webgpu.js'

const gpuNeeded = await needs('webgpu')
const linuxNeeded = await needs('linux')
const numbers = (data: TensorData) => Array.from(data as ArrayLike<number | bigint>, Number)

/** y = f(x) of vectors. */
function model(f: (x: Value) => Value, dtype: DType = 'float32'): Uint8Array {
  const x = input('x', dtype, ['n'])
  return encode('ModelProto', exportGraph({ name: 'f', inputs: new Map([['x', x]]), outputs: new Map([['y', f(x)]]) }))
}
const doubled = model((x) => op.Mul(x, 2))

const open: Runtime[] = []
afterEach(async () => {
  for (const runtime of open.splice(0)) await runtime.dispose()
})
const started = (...args: Parameters<typeof webgpu>): Runtime => {
  const runtime = webgpu(...args)
  open.push(runtime)
  return runtime
}

describe.each([
  ['worker', true],
  ['in process', false],
])('node({ provider: webgpu }) %s', gpuNeeded, (_, worker) => {
  const start = () => started({}, { worker })

  const samples: [DType, number[], TensorData][] = [
    ['float32', [], new Float32Array([5])],
    ['float32', [0, 3], new Float32Array(0)],
    ['float32', [2, 2], new Float32Array([1, -2, 3, Number.POSITIVE_INFINITY])],
    ['int32', [2], new Int32Array([-(2 ** 31), 7])],
    ['int64', [2], new BigInt64Array([2n ** 63n - 1n, -1n])],
    ['bool', [3], new Uint8Array([1, 0, 1])],
    ['uint8', [5], new Uint8Array([0, 255, 3, 4, 5])],
  ]
  it.each(samples)(
    '%s %j, also without CPU nodes > is uploaded and downloaded unchanged',
    async (dtype, dims, data) => {
      const { device } = started({ cpuNodes: 'forbidden' }, { worker })
      const there = await device!.upload({ dtype, dims, data })
      expect(there.dtype).toBe(dtype)
      expect(there.dims).toEqual(dims)
      expect(await device!.download(there)).toEqual({ dtype, dims, data })
    },
  )

  it('disposed program > its tensors remain valid', async () => {
    const { device } = start()
    const program = await device!.compile(doubled, () => true)
    const { device: kept } = await program.run({ x: floats(4) })
    await program.release()
    expect(numbers((await device!.download(kept['y']!)).data)).toEqual([8])
    const other = await device!.compile(doubled, () => true)
    const { device: again } = await other.run({ x: kept['y']! })
    // onnxruntime itself ends the process where the memory is that of a session which is gone.
    kept['y']!.release()
    expect(numbers((await device!.download(again['y']!)).data)).toEqual([16])
    await expect(program.run({ x: floats(4) })).rejects.toMatchObject({ code: 'runtime' })
  })

  it('cpuNodes forbidden, a model with a node for the CPU > rejects, naming the node', async () => {
    const det = model((x) => op.Det(op.Unsqueeze(op.Unsqueeze(op.ReduceSum(x), [0]), [0])))
    await expect(started({ cpuNodes: 'forbidden' }, { worker }).compile(det)).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/'[^']+' \(Det: it has no kernel; compileModel replaces it/),
    })
    const program = await start().compile(det)
    expect(numbers((await program.run({ x: floats(2, 3) }))['y']!.data)).toEqual([5])
  })
})

describe('cpuNodes forbidden > names nodes with their operators and the reasons', gpuNeeded, () => {
  const scan = (x: Value) => {
    const [state, item] = [input('state', 'float32', []), input('item', 'float32', [])]
    const step = body([state, item], () => {
      const sum = op.Add(state, item)
      return [sum, op.Identity(sum)]
    })
    return op.Scan([scalar('float32', 0), x], { body: step, num_scan_inputs: 1 })[1]!
  }
  const lengths = (x: Value) => op.Expand(scalar('float32', 1), op.Add(op.Shape(x), int64s([1])))

  it.each<[string, (x: Value) => Value, RegExp]>([
    [
      'no kernel',
      (x) => op.Relu(op.Compress(x, op.Greater(x, 0))),
      /runs? '[^']+' \(Compress: it has no kernel for float32 and bool\);/,
    ],
    ['a lowering', (x) => op.Softsign(x), /'[^']+' \(Softsign: it has no kernel; compileModel replaces it/],
    ['iterations', scan, /'[^']+' \(Scan: its iterations run on the CPU\);/],
    ['lengths', lengths, /run 'Add_0' \(Add: it computes with lengths that are known only when the graph runs\)/],
    [
      'a later operator set',
      (x) => op.Add(op.Sin(x), op.Swish(x)),
      /\(Sin: it has a kernel up to operator set 21, and the model uses 24\)/,
    ],
  ])('%s', async (_, f, named) => {
    const rejected = expect(started({ cpuNodes: 'forbidden' }).compile(model(f))).rejects
    await rejected.toMatchObject({ code: 'runtime', message: expect.stringMatching(named) })
  })
})

describe('several WebGPU runtimes in a process', gpuNeeded, () => {
  it('concurrent calls > run one after another', async () => {
    const runtimes = [started(), started(), started({}, { worker: false })]
    const results = await Promise.all(
      runtimes.map(async (runtime, i) => {
        let last = 0
        for (let round = 0; round < 3; round++) {
          const program = await runtime.compile(doubled)
          for (let run = 0; run < 5; run++) last = (await program.run({ x: floats(i + run) }))['y']!.data[0] as number
          await program.release()
        }
        return last
      }),
    )
    expect(results).toEqual([8, 10, 12])
  })

  it('undisposed runtimes > the process ends normally', async () => {
    const url = new URL('../../dist/node/runtime/node.js', import.meta.url).href
    const script = `
      const { node } = await import(${JSON.stringify(url)})
      const runtime = node({ provider: 'webgpu' })
      const x = await runtime.device.upload({ dtype: 'float32', dims: [1], data: new Float32Array(1) })
      void runtime.device.download(x)
      console.log('done')
    `
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout).toBe('done\n')
  })
})

describe('a provider that does not start', () => {
  const url = new URL('../../dist/node/index.js', import.meta.url).href
  const run = async (script: string) => {
    const env = { ...process.env, VK_ICD_FILENAMES: fileURLToPath(new URL('missing.json', import.meta.url)) }
    const source = `const { node } = await import(${JSON.stringify(url)})\n${script}`
    return (await promisify(execFile)(process.execPath, ['--input-type=module', '-e', source], { env })).stdout
  }

  it('fallback null > node > rejects with the reason', linuxNeeded, async () => {
    const text = await run(
      "await node({ provider: 'webgpu', fallback: null }).catch(({ code, message }) => console.log(code, message))",
    )
    expect(text).toMatch(/^runtime WebGPU does not start: .*adapter/)
  })

  it('a fallback > node > resolves to it, with the reason in its description', linuxNeeded, async () => {
    const text = await run(`
      const runtime = await node({ provider: 'webgpu', fallback: node })
      console.log(runtime.provider, runtime.device === undefined, runtime.description)
      await runtime.dispose()
    `)
    expect(text).toMatch(/^cpu true onnxruntime .*, because WebGPU does not start: .*adapter/)
  })

  it('an unknown provider, options of another provider > node > rejects', async () => {
    expect(() => node({ provider: 'cuda' as 'cpu' })).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    expect(() => node({ webgpu: {} })).toThrow(expect.objectContaining({ code: 'invalid-option' }))
    const runtime = await node({ threads: 1, fallback: null })
    expect(runtime.provider).toBe('cpu')
    await runtime.dispose()
  })
})
