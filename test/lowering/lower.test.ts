import { describe, expect, it, vi } from 'vitest'
import { body } from '../../src/ir/body.js'
import { constant, input, int64s, parameter, scalar, tensorFrom } from '../../src/ir/leaf.js'
import { withBodies } from '../../src/ir/topology.js'
import type { Value } from '../../src/ir/value.js'
import { compileGraph, compileModel } from '../../src/lowering/compile.js'
import { lower } from '../../src/lowering/lower.js'
import { lowerForWebgpu } from '../../src/lowering/lower-model.js'
import { webgpu } from '../../src/lowering/webgpu/target.js'
import { type GraphSpec, modelOf } from '../../src/onnx/export/export-graph.js'
import { importGraph } from '../../src/onnx/import/import-graph.js'
import { decodeModel, encodeModel } from '../../src/onnx/model.js'
import { definitions, op } from '../../src/op/op.js'
import { kernels } from '../generated/kernels.js'
import { onCpuAndGpu } from './cpu-and-gpu.js'
import { operatorsOf, outputsOf } from './outputs.js'
import { cpu, cpuAs } from './providers.js'
import { specialize } from './specialize.js'

const spec = (inputs: readonly Value[], outputs: Readonly<Record<string, Value>>): GraphSpec => ({
  name: 'graph',
  inputs: new Map(inputs.map((x) => [x.name!, x])),
  outputs: new Map(Object.entries(outputs)),
})
const typesOf = (values: ReadonlyMap<string, Value>) => [...values].map(([name, { dtype }]) => [name, dtype])
const floats = (dims: readonly number[], ...values: number[]) => tensorFrom('float32', dims, values)

describe('lower', () => {
  it.each(['cpu', 'wasm', 'cuda', 'webgpu'] as const)('%s > result is lowered if necessary', async (provider) => {
    const x = input('x', 'float32', [2, 3])
    const graph = spec([x], { y: op.Sign(op.LogSoftmax(x)) })
    const written: Uint8Array[] = []
    const compile = (bytes: Uint8Array) => {
      written.push(bytes)
      return cpu.compile(bytes)
    }
    await (await compileGraph({ ...cpu, provider, compile }, graph)).release()
    await (await compileModel({ ...cpu, provider, compile }, modelOf(graph))).release()
    for (const bytes of written) {
      const found = operatorsOf(importGraph(decodeModel(bytes)))
      if (provider === 'webgpu') expect(found).not.toEqual(expect.arrayContaining(['Sign']))
      else expect(found).toEqual(['LogSoftmax', 'Sign'])
    }
    expect(written).toHaveLength(2)
  })

  it("float64 on WebGPU > runtime that names the tensor; casts inside of the graph are the provider's matter", async () => {
    const runtime = cpuAs('webgpu')
    const x = input('x', 'float64', [2])
    await expect(compileGraph(runtime, spec([x], { y: op.Exp(x) }))).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/'x'.*float32/),
    })
    const w = parameter('w', tensorFrom('float64', [2], [1, 2]))
    const z = input('z', 'float32', [2])
    await expect(compileGraph(runtime, spec([z], { y: op.Cast(w, { to: 1 }), z }))).rejects.toMatchObject({
      code: 'runtime',
    })
    await (await compileGraph(runtime, spec([z], { y: op.Cast(op.Cast(z, { to: 11 }), { to: 1 }) }))).release()
  })

  it('unchanged values > are shared', () => {
    const x = input('x', 'float32', [2, 3])
    const y = op.Exp(op.MatMul(x, constant(floats([3, 1], 1, 2, 3))))
    expect(lower(spec([x], { y }), webgpu).outputs.get('y')).toBe(y)
  })

  it('nodes after a lowered one > are copied without inferring their types again', () => {
    const x = input('x', 'float32', ['N', 3])
    const y = op.Relu(op.Sign(x))
    const infer = vi.spyOn(definitions.Relu, 'infer')
    try {
      const result = lower(spec([x], { y }), webgpu).outputs.get('y')!
      expect(result).not.toBe(y)
      expect(result).toMatchObject({ dtype: 'float32', shape: ['N', 3] })
      expect(infer).not.toHaveBeenCalled()
    } finally {
      infer.mockRestore()
    }
  })

  it('operators introduced by a lowering > are lowered too', () => {
    const [scores, labels] = [input('scores', 'float32', [2, 3]), input('labels', 'int64', [2])]
    const [loss] = op.SoftmaxCrossEntropyLoss(scores, labels, { ignore_index: -1 })
    const result = lower(spec([scores, labels], { loss }), webgpu)
    expect(operatorsOf(result)).not.toEqual(expect.arrayContaining(['LogSoftmax']))
    expect(operatorsOf(result)).toContain('Log')
    expect(typesOf(result.inputs)).toEqual([
      ['scores', 'float32'],
      ['labels', 'int32'],
    ])
  })

  it('shapes, also as inputs > stay on the host; other int64 values are computed in int32', () => {
    const [x, shape, ids] = [
      input('x', 'float32', ['N', 6]),
      input('shape', 'int64', [2]),
      input('ids', 'int64', ['N']),
    ]
    const rows = op.Shape(x, { end: 1 })
    const target = op.Concat([rows, op.Div(int64s([6]), int64s([2])), int64s([2])], { axis: 0 })
    const outputs = {
      reshaped: op.Reshape(x, target),
      given: op.Reshape(x, shape),
      places: op.Add(op.Mul(ids, 2), rows),
      rows: op.Mul(rows, int64s([3])),
    }
    const result = lower(spec([x, shape, ids], outputs), webgpu)
    expect(typesOf(result.inputs)).toEqual([
      ['x', 'float32'],
      ['shape', 'int64'],
      ['ids', 'int32'],
    ])
    expect(typesOf(result.outputs)).toEqual([
      ['reshaped', 'float32'],
      ['given', 'float32'],
      ['places', 'int32'],
      ['rows', 'int64'],
    ])
    expect(result.outputs.get('reshaped')).toBe(outputs.reshaped)
    // The number of rows that is added to int32 is counted on the device: nothing is cast from int64.
    const casts = withBodies(result.outputs.values()).filter(({ operator }) => operator === 'Cast')
    expect(casts.filter(({ inputs: [x] }) => x!.dtype === 'int64')).toEqual([])
  })

  it('bodies > captured values and dtypes are preserved', async () => {
    const [x, ids] = [input('x', 'float32', ['N']), input('ids', 'int64', ['N'])]
    const last = op.Add(ids, 1)
    const some = op.Greater(op.ReduceSum(op.Cast(last, { to: 1 }), null, { keepdims: 0 }), 5)
    const [y] = op.If(some, {
      then_branch: body([], () => [op.Gather(x, op.Sub(last, 1))]),
      else_branch: body([], () => [op.Sign(x)]),
    })
    const graph = spec([x, ids], { y: y! })
    for (const data of [
      [2n, 1n, 0n],
      [0n, 0n, 0n],
    ]) {
      const feeds = {
        x: floats([3], -1, 0, 4),
        ids: { dtype: 'int64', dims: [3], data: BigInt64Array.from(data) } as const,
      }
      expect(await outputsOf(cpuAs('webgpu'), graph, feeds)).toEqual(await outputsOf(cpu, graph, feeds))
    }
  })

  it('newer operators > use an older opset if another operator has no kernel in the newer one', () => {
    const x = input('x', 'float32', ['N', 4])
    const normalized = op.RMSNormalization(x, constant(floats([4], 1, 1, 1, 1)))
    const alone = spec([x], { y: normalized })
    expect(operatorsOf(lower(alone, webgpu))).toEqual(['RMSNormalization'])
    const turned = lower(spec([x], { y: op.Sin(normalized) }), webgpu)
    expect(operatorsOf(turned)).toEqual(expect.arrayContaining(['Sin', 'ReduceMean']))
    expect(operatorsOf(turned)).not.toContain('RMSNormalization')
  })

  it('maxOpset of definitions > equals the last operator set measured for each kernel', () => {
    const measured = Object.entries(kernels.operators).flatMap(([name, { webgpu }]) =>
      webgpu?.until === undefined ? [] : [[name, webgpu.until]],
    )
    const defined = Object.entries(definitions).flatMap(([name, { maxOpset }]) =>
      maxOpset['webgpu'] === undefined ? [] : [[name, maxOpset['webgpu']]],
    )
    expect(defined.toSorted()).toEqual(measured.toSorted())
  })

  it('32-bit integers > are unchanged; larger integers reject with the input name', async () => {
    const ids = input('ids', 'int64', ['N'])
    const graph = spec([ids], { y: op.Add(ids, scalar('int64', 1)) })
    const feed = (...data: bigint[]) => ({
      ids: { dtype: 'int64', dims: [data.length], data: BigInt64Array.from(data) } as const,
    })
    const { y } = await outputsOf(cpuAs('webgpu'), graph, feed(-5n, 2147483646n))
    expect(y).toEqual({ dtype: 'int64', dims: [2], data: BigInt64Array.from([-4n, 2147483647n]) })
    await expect(outputsOf(cpuAs('webgpu'), graph, feed(2147483648n))).rejects.toMatchObject({
      code: 'invalid-data',
      message: /^input 'ids': 2147483648 /,
    })
  })

  it('constants beyond 32 bits > rejects, except the int64 limits used as missing bounds', async () => {
    const ids = input('ids', 'int64', [3])
    const feeds = { ids: { dtype: 'int64', dims: [3], data: BigInt64Array.from([-7n, 0n, 9n]) } as const }
    const clipped = spec([ids], { y: op.Clip(ids, scalar('int64', -(2 ** 63)), scalar('int64', 2 ** 63)) })
    expect(await outputsOf(cpuAs('webgpu'), clipped, feeds)).toEqual(await outputsOf(cpu, clipped, feeds))
    const hash = constant(tensorFrom('int64', [1], [2 ** 40]), 'hash')
    expect(() => lower(spec([ids], { y: op.Add(ids, hash) }), webgpu)).toThrow(
      expect.objectContaining({
        code: 'invalid-data',
        message: expect.stringMatching(/^the constant 'hash': 1099511627776 /),
      }),
    )
    const far = op.Range(scalar('int64', 2 ** 31), scalar('int64', 2 ** 31 + 100), scalar('int64', 1))
    expect(() => lower(spec([ids], { y: op.Add(far, op.Gather(ids, 0)) }), webgpu)).toThrow(
      expect.objectContaining({ code: 'invalid-data' }),
    )
  })
})

describe('specialize', () => {
  it('given symbols > become numbers, also in derived dims', async () => {
    const x = input('x', 'float32', ['N', 'M'])
    const graph = spec([x], { y: op.Reshape(x, op.Concat([op.Shape(x, { start: 1 }), int64s([-1])], { axis: 0 })) })
    const known = specialize(
      graph,
      new Map([
        ['N', 2],
        ['M', 3],
      ]),
    )
    expect(known.inputs.get('x')!.shape).toEqual([2, 3])
    expect(known.outputs.get('y')!.shape).toEqual([3, 2])
    expect(operatorsOf(known)).toEqual(['Reshape'])
    const feeds = { x: floats([2, 3], 1, 2, 3, 4, 5, 6) }
    expect(await outputsOf(cpu, known, feeds)).toEqual(await outputsOf(cpu, graph, feeds))
  })

  it('other symbols > are unchanged', () => {
    const x = input('x', 'float32', ['N', 'M'])
    expect(specialize(spec([x], { y: op.Exp(x) }), new Map([['M', 3]])).outputs.get('y')!.shape).toEqual(['N', 3])
  })
})

onCpuAndGpu('Dropout in training mode', (lowered) => {
  it('mask used > keeps a share of the elements, scaled, and the mask says which', async () => {
    const x = input('x', 'float32', [40, 50])
    const training = constant(tensorFrom('bool', [], [1]))
    const [y, mask] = op.Dropout(x, scalar('float32', 0.25), training)
    const ones = floats([40, 50], ...new Array<number>(2000).fill(3))
    const graph = spec([x], { y, kept: op.Cast(mask, { to: 1 }) })
    const { y: values, kept } = await outputsOf(lowered().runtime, graph, { x: ones })
    const shown = Array.from(kept!.data as Float32Array)
    for (const [i, value] of (values!.data as Float32Array).entries()) expect(value).toBeCloseTo(4 * shown[i]!, 5)
    // Standard deviation of the share: sqrt(0.25 0.75 / 2000) = 0.01.
    expect(Math.abs(shown.reduce((sum, each) => sum + each, 0) / 2000 - 0.75)).toBeLessThan(0.05)
  })
})

describe('lowerForWebgpu', () => {
  it('model > computes the same in operators that WebGPU has, with the metadata of the file', async () => {
    const x = input('x', 'float32', [2, 3])
    const graph = { ...spec([x], { y: op.Sign(op.LogSoftmax(x)) }), metadata: { classes: 'a,b' } }
    const original = modelOf(graph)
    const result = lowerForWebgpu(original)
    const imported = importGraph(decodeModel(encodeModel(result)))
    expect(operatorsOf(imported)).not.toEqual(expect.arrayContaining(['Sign']))
    expect(imported.metadata).toEqual({ classes: 'a,b' })
    const feeds = { x: floats([2, 3], 1, -2, 3, 0, 5, -6) }
    const [before, after] = await Promise.all([original, result].map((model) => compileModel(cpu, model)))
    expect((await after!.run(feeds))['y']!.data).toEqual((await before!.run(feeds))['y']!.data)
    await Promise.all([before!.release(), after!.release()])
  })
})
