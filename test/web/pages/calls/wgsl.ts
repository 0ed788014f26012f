import { evaluateOne } from '../../../../src/optim/expr/evaluate.js'
import { array, Expr, type Formula, formula, type Op, scalar } from '../../../../src/optim/expr/expr.js'
import { callHeadBytes, formulaToWgsl, workgroupSize } from '../../../../src/optim/expr/wgsl.js'

const numbers = [0, -0, 1, -1, 0.1, -2.5, 3e-20, -7e18, 1.17549435e-38, 3.4e38, 123456.79, -0.333]

/** Runs a formula's shader over arrays of one length. The scalars are those of its call. */
async function run(
  of: Formula,
  arrays: Readonly<Record<string, Float32Array>>,
  bits: readonly string[],
  scalars: Readonly<Record<string, number>>,
  width: 1 | 4,
): Promise<Record<string, Float32Array>> {
  const device = (await (await navigator.gpu.requestAdapter())!.requestDevice())!
  const made = formulaToWgsl(of, { width, bits, fed: ['b'] })
  const module = device.createShaderModule({ code: made.code })
  const { messages } = await module.getCompilationInfo()
  if (messages.length > 0) throw new Error(messages.map(({ message, lineNum }) => `${lineNum}: ${message}`).join('\n'))
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } })
  const { length } = Object.values(arrays)[0]!
  // Bits start at word 1 of their buffer.
  const packed = (array: Float32Array) => {
    const words = new Uint32Array(2 + Math.ceil(length / 32))
    for (const [i, x] of array.entries()) if (x === 1) words[1 + (i >> 5)]! |= 1 << (i & 31)
    return words
  }
  const bufferOf = (data: Float32Array | Uint32Array, usage: number) => {
    const buffer = device.createBuffer({ size: Math.max(16, data.byteLength), usage: usage | 0x4 | 0x8 })
    device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>)
    return buffer
  }
  const buffers = new Map<string, GPUBuffer>()
  for (const { name } of [...made.arrays, ...made.fed]) {
    const data = arrays[name] ?? new Float32Array(length)
    buffers.set(name, bufferOf(bits.includes(name) ? packed(data) : data, 0x80))
  }
  const call = new ArrayBuffer(callHeadBytes + 16 * Math.max(1, Math.ceil(made.scalars.length / 4)))
  new Uint32Array(call, 0, 4).set([length / width, 1, 0, 0])
  new Float32Array(call, callHeadBytes).set(made.scalars.map((name) => scalars[name]!))
  const groups = [
    [bufferOf(new Uint32Array(call), 0x40)],
    ...[made.arrays, made.fed].map((group) => group.map(({ name }) => buffers.get(name)!)),
  ]
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  for (const [g, group] of groups.entries())
    if (group.length > 0)
      pass.setBindGroup(
        g,
        device.createBindGroup({
          layout: pipeline.getBindGroupLayout(g),
          entries: group.map((buffer, binding) => ({ binding, resource: { buffer } })),
        }),
      )
  const workgroups = Math.ceil(length / width / workgroupSize)
  pass.dispatchWorkgroups(Math.ceil(workgroups / 2), 2) // rows, as for tensors beyond one row of workgroups
  pass.end()
  const results: Record<string, Float32Array> = {}
  const stagings = Object.keys(of.outputs).map((name) => {
    const staging = device.createBuffer({ size: 4 * length, usage: 0x1 | 0x8 })
    encoder.copyBufferToBuffer(buffers.get(name)!, 0, staging, 0, 4 * length)
    return [name, staging] as const
  })
  device.queue.submit([encoder.finish()])
  for (const [name, staging] of stagings) {
    await staging.mapAsync(0x1)
    results[name] = new Float32Array(staging.getMappedRange().slice(0))
  }
  device.destroy()
  return results
}

/** Lists results of a shader that differ from those of the host by more than a few units in the last place. */
async function compare(
  of: Formula,
  arrays: Readonly<Record<string, Float32Array>>,
  bits: readonly string[],
  scalars: Readonly<Record<string, number>>,
  width: 1 | 4,
): Promise<string[]> {
  const { length } = Object.values(arrays)[0]!
  const expected: Record<string, Float32Array | Uint8Array> = {}
  for (const name of new Set([...of.arrays, ...Object.keys(of.outputs)]))
    expected[name] = bits.includes(name)
      ? Uint8Array.from(arrays[name]!)
      : (arrays[name]?.slice() ?? new Float32Array(length))
  evaluateOne(of, expected, scalars)
  const got = await run(of, arrays, bits, scalars, width)
  return Object.entries(got).flatMap(([name, result]) =>
    [...result].flatMap((x, i) => {
      const wanted = expected[name]![i]!
      // Subnormal numbers may be flushed to 0, and results of overflow depend on the device.
      const close =
        Math.abs(x - wanted) <= 4e-7 * Math.abs(wanted) + 1.2e-38 ||
        !Number.isFinite(wanted) ||
        Math.abs(wanted) > 3.4e38
      return close ? [] : [`${name}[${i}] is ${x}, not ${wanted}`]
    }),
  )
}

/** Every pair of numbers, as operands a and b; with the numbers of `only` left out of b. */
function pairs(only: (b: number) => boolean) {
  const seconds = numbers.filter(only)
  const all = numbers.flatMap((a) => seconds.map((b) => [a, b] as const))
  const repeated = Array.from({ length: 1200 }, (_, i) => all[i % all.length]!)
  return { a: Float32Array.from(repeated, ([a]) => a), b: Float32Array.from(repeated, ([, b]) => b) }
}

/** Applies one operation to every pair of numbers. */
export function arithmetic(op: Op, width: 1 | 4): Promise<string[]> {
  const { a, b } = pairs((x) => op !== 'div' || Math.abs(x) > 1e-30)
  const [x, y] = [array('a'), array('b')]
  const operands = ['abs', 'sign'].includes(op) ? [x] : op === 'sqrt' ? [x.abs()] : [x, y]
  return compare(formula({ y: new Expr({ kind: 'call', op, operands }) }), { a, b }, [], {}, width)
}

/** In place, from each other's old values, with scalars beyond one vector, constants and a mask of bits. */
export function together(length: number, width: 1 | 4): Promise<string[]> {
  const maskName = 'a name; no identifier'
  const [a, b, m] = [array('a'), array('b'), array(maskName)]
  const many = Array.from({ length: 6 }, (_, i) => scalar(`s${i}`))
  const sum = many.reduce((x, y, i) => x.add(y.mul(i === 3 ? a : b)))
  const of = formula({
    a: sum.mul(m).add(b.sub(0.1)),
    c: a.mul(-1e-8),
    d: m.add(a.atMost(0.25)),
  })
  const wave = (k: number) => Float32Array.from({ length }, (_, i) => Math.sin(k * i + 1) / 2 + 0.7)
  const mask = Float32Array.from({ length }, (_, i) => Number((i * 7) % 5 < 2))
  const scalars = Object.fromEntries(many.map((_, i) => [`s${i}`, 1 / (3 + i)]))
  return compare(of, { a: wave(1.3), b: wave(2.7), [maskName]: mask }, [maskName], scalars, width)
}
