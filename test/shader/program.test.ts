import { describe, expect, it } from 'vitest'
import { convnet, lenet, llama, mlp, resnet, vit } from '../../models/index.js'
import { gradients } from '../../src/grad/gradient.js'
import { constant, input, scalar } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { op } from '../../src/op/op.js'
import { commonExpansions } from '../../src/shader/expansions.js'
import { shaderProgram } from '../../src/shader/program.js'

const models = {
  mlp: [() => mlp({ features: 6, hidden: [8], classes: 3 }), [4, 6]],
  lenet: [() => lenet({ classes: 3 }), [2, 1, 28, 28]],
  convnet: [() => convnet({ channels: 2, stages: [4, 6], classes: 3 }), [2, 2, 8, 8]],
  resnet: [
    () => resnet({ channels: 2, size: 8, stem: 'cifar', depths: [1, 1], stages: [4, 6], classes: 3 }),
    [2, 2, 8, 8],
  ],
  vit: [() => vit({ channels: 1, size: 8, patch: 4, width: 8, heads: 2, layers: 1, classes: 3 }), [2, 1, 8, 8]],
  llama: [() => llama({ vocabulary: 8, context: 4, width: 8, heads: 2, layers: 1 }), [2, 4]],
} as const

describe('a model with all of its gradients > becomes shaders', () => {
  it.each(Object.entries(models))('%s', (_, [build, dims]) => {
    const { inputs, outputs, parameters } = build()
    const [y] = outputs.values()
    const dy = input('dy', 'float32', y!.shape)
    const dx = gradients([[y!, dy]], [...parameters.values()])
    const results = [...parameters.keys()].flatMap((name, i) => (dx[i] ? [[`grad/${name}`, dx[i]] as const] : []))
    const spec = {
      name: 'model',
      inputs: new Map([...inputs, ['dy', dy] as const]),
      outputs: new Map([['y', y!] as const, ...results]),
    }
    const [[name, x]] = [...inputs] as [[string, Value]]
    const lengths = new Map(x.shape!.map((dim, axis) => [dim, dims[axis]!] as const))
    const known = y!.shape!.map((dim) => (typeof dim === 'number' ? dim : lengths.get(dim)!))
    const found = shaderProgram(spec, { [name]: dims, dy: known }, commonExpansions)
    expect([...found.outputs.keys()]).toEqual([...spec.outputs.keys()])
    for (const [name] of results)
      expect(found.outputs.get(name)!.value.shape).toEqual(parameters.get(name.slice('grad/'.length))!.shape)
    expect(results.length).toBeGreaterThanOrEqual(4)
    expect(found.kernels.every(({ reads }) => reads.length <= 7)).toBe(true)
  })
})

describe('operators that sample', () => {
  const programOf = (...outputs: readonly Value[]) => {
    const named = new Map(outputs.map((value, i) => [`y${i}`, value]))
    return shaderProgram({ name: 'samples', inputs: new Map(), outputs: named }, {}, commonExpansions)
  }
  const codes = (...outputs: readonly Value[]) => programOf(...outputs).kernels.map(({ code }) => code)
  const uniform = (seed?: number) => op.RandomUniform({ shape: [5], seed })

  it('read the number of the run', () => {
    const { state, kernels } = programOf(op.RandomNormal({ shape: [5] }))
    expect(kernels.map(({ reads }) => reads)).toEqual([[state]])
    expect(
      programOf(op.Neg(constant({ dtype: 'float32', dims: [2], data: Float32Array.of(1, 2) }))).state,
    ).toBeUndefined()
  })

  it('differ between nodes, unless they have the same seed', () => {
    const [first, second] = codes(uniform(), uniform())
    expect(second).not.toBe(first)
    expect(new Set(codes(uniform(3), uniform(3))).size).toBe(1)
    expect(new Set(codes(uniform(3), uniform(4))).size).toBe(2)
  })
})

describe('integers of more than 32 bits > are left to onnxruntime', () => {
  const large = 2 ** 40
  it.each<[string, (x: Value) => Value]>([
    ['a number', (x) => op.Min([x, scalar('int64', large)])],
    ['the smallest', (x) => op.Greater(x, scalar('int64', -(2 ** 63)))],
    ['a list', (x) => op.Add(x, constant({ dtype: 'int64', dims: [2], data: BigInt64Array.of(1n, BigInt(large)) }))],
  ])('%s', (_, build) => {
    const x = input('x', 'int64', [2])
    const spec = { name: 'integers', inputs: new Map([['x', x]]), outputs: new Map([['y', build(x)]]) }
    expect(() => shaderProgram(spec, { x: [2] }, commonExpansions)).toThrow(
      expect.objectContaining({ code: 'unsupported-operator', message: expect.stringMatching(/^the integer -?\d+$/) }),
    )
  })
})
