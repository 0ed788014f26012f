import { expect, it } from 'vitest'
import { input } from '../../src/ir/leaf.js'
import type { Tensor } from '../../src/ir/tensor.js'
import { op } from '../../src/op/op.js'
import { KernelCache } from '../../src/web/webgpu-backend/kernel-cache.js'
import { ShaderGraph } from '../../src/web/webgpu-backend/shader-graph.js'

const length = 4

/** A device without arithmetic, on which buffers of a label do not fit into the memory until there is room. */
function fakeDevice(tooLarge: string, hasRoom = () => false): GPUDevice {
  const failures: ({ message: string } | null)[] = []
  const pass = { setPipeline() {}, setBindGroup() {}, dispatchWorkgroups() {}, end() {} }
  const encoder = { beginComputePass: () => pass, copyBufferToBuffer() {}, finish: () => ({}) }
  const createBuffer = ({ label, size }: GPUBufferDescriptor) => {
    const isInvalid = label === tooLarge && !hasRoom()
    if (isInvalid) failures[failures.length - 1] = { message: 'out of memory' }
    const mapped = { mapAsync: async () => {}, getMappedRange: () => new ArrayBuffer(size), unmap() {} }
    return { size, isInvalid, destroy() {}, ...mapped }
  }
  return {
    adapterInfo: { isFallbackAdapter: false },
    limits: { maxStorageBuffersPerShaderStage: 8, maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 },
    queue: { writeBuffer() {}, submit() {} },
    createBuffer,
    createShaderModule: () => ({}),
    createPipelineLayout: () => ({}),
    createBindGroupLayout: () => ({}),
    createComputePipelineAsync: async () => ({}),
    // Without memory a browser creates invalid buffers, which it refuses when they are used.
    createBindGroup: ({ entries }: { entries: { resource: { buffer: { isInvalid: boolean } } }[] }) => {
      if (entries.some(({ resource }) => resource.buffer.isInvalid)) throw new Error('a buffer is invalid')
      return {}
    },
    createCommandEncoder: () => encoder,
    pushErrorScope: () => failures.push(null),
    popErrorScope: async () => failures.pop(),
  } as unknown as GPUDevice
}

/** A graph of a sum and its gradient, on a device where buffers of a label do not fit. */
function graphOn(tooLarge = '', hasRoom = () => false) {
  const gpu = fakeDevice(tooLarge, hasRoom)
  const [x, n] = [input('x', 'float32', [length]), input('n', 'int64', [length])]
  const y = op.Mul(x, op.Cast(n, { to: 1 }))
  const outputs = new Map([
    ['loss', op.ReduceSum(y, [0])],
    ['grad/w', op.Mul(y, 2)],
  ])
  const context = { gpu, ended: new Promise<never>(() => {}), check() {}, run: <T>(task: () => Promise<T>) => task() }
  const inputs = new Map([
    ['x', x],
    ['n', n],
  ])
  return new ShaderGraph(context, KernelCache.of(gpu), { name: 'sum', inputs, outputs }, async (reason) => {
    throw new Error(reason)
  })
}

const x: Tensor = { dtype: 'float32', dims: [length], data: new Float32Array(length) }
const n: Tensor = { dtype: 'int64', dims: [length], data: BigInt64Array.of(1n, -(2n ** 31n), 2n ** 31n - 1n, 0n) }

it('a batch > outputs', async () => {
  const { outputs, gradients } = await graphOn().run({ x, n }, {})
  expect([Object.keys(outputs), Object.keys(gradients)]).toEqual([['loss'], ['w']])
})

it('an integer of more than 32 bits, or fewer elements than dims > invalid-data', async () => {
  const refused = (message: RegExp) => ({ code: 'invalid-data', message: expect.stringMatching(message) })
  const large = { ...n, data: BigInt64Array.of(0n, 0n, 2n ** 31n, 0n) }
  await expect(graphOn().run({ x, n: large }, {})).rejects.toMatchObject(
    refused(/^input 'n' has the integer 2147483648/),
  )
  const short = { ...x, data: new Float32Array(length - 1) }
  await expect(graphOn().run({ x: short, n }, {})).rejects.toMatchObject(
    refused(/^input 'x': .* needs 4 array elements/),
  )
})

it.each(['grad/w', 'input'])('no memory for %s > runtime, in place of results of zeros', async (label) => {
  const full = { code: 'runtime', message: expect.stringMatching(/does not fit the GPU's memory/) }
  await expect(graphOn(label).run({ x, n }, {})).rejects.toMatchObject(full)
})

it.each(['grad/w', 'input'])('memory for %s at the second run > no buffer of the first one is used', async (label) => {
  let hasRoom = false
  const graph = graphOn(label, () => hasRoom)
  await expect(graph.run({ x, n }, {})).rejects.toMatchObject({ code: 'runtime' })
  hasRoom = true
  expect(Object.keys((await graph.run({ x, n }, {})).gradients)).toEqual(['w'])
})
