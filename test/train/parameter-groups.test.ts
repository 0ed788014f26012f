import { describe, expect, it } from 'vitest'
import { transformer } from '../../models/transformer.js'
import { Random } from '../../src/data/index.js'
import {
  body,
  constant,
  importGraph,
  input,
  modelOf,
  op,
  parameter,
  tensor,
  type Value,
} from '../../src/graph/index.js'
import { adamw, crossEntropy, ire, type ParameterGroup, sgd, type TrainerOptions } from '../../src/index.js'
import { layerDepths, resolveParameterSettings } from '../../src/train/parameter-groups.js'
import { int64s } from '../onnx/build.js'
import { errorWith, rejectedError } from '../thrown.js'
import { clusters, modelFrom, normal } from './problem.js'
import { startTrainers, train } from './small-trainer.js'

const { create } = startTrainers({ optimizer: sgd({ lr: 0.1 }) })
const points = clusters(40, [6])

/** Trains for some steps and returns the change of each tensor. */
async function moves(options: Partial<TrainerOptions>, steps = 1): Promise<Record<string, number[]>> {
  const trainer = await create(options)
  const before = Object.entries(await trainer.parameters()).map(([name, array]) => [name, Array.from(array)] as const)
  await train(trainer, points, { totalSteps: steps })
  const after = await trainer.parameters()
  return Object.fromEntries(before.map(([name, old]) => [name, old.map((x, i) => after[name]![i]! - x)]))
}

const isZero = (move: readonly number[] | undefined) => move!.every((x) => x === 0)
const expectTimes = (move: readonly number[] | undefined, reference: readonly number[] | undefined, factor: number) => {
  expect(isZero(reference)).toBe(false)
  for (const [i, x] of move!.entries()) expect(x).toBeCloseTo(factor * reference![i]!, 6)
}

async function refusal(options: Partial<TrainerOptions>): Promise<string> {
  const { code, message } = await rejectedError(() => create(options))
  return `${code}: ${message}`
}

const names = Object.keys(await (await create()).parameters())
const weight = names.filter((name) => name.endsWith('weight'))
const bias = names.filter((name) => name.endsWith('bias'))

describe('groups', () => {
  it('set the learning rate', async () => {
    const plain = await moves({})
    const grouped = await moves({ groups: [{ tensors: 'head*', lr: 0.02 }] })
    for (const name of names) expectTimes(grouped[name], plain[name], name.startsWith('head') ? 0.2 : 1)
  })

  it('set the weight decay, and decayVectors excludes biases', async () => {
    const still = { optimizer: adamw({ lr: 0.1, weightDecay: 0.5 }) }
    const decayed = await moves(still)
    const spared = await moves({ ...still, decayVectors: false })
    const none = await moves({ ...still, groups: [{ tensors: '*', weightDecay: 0 }] })
    for (const name of weight) {
      expect(spared[name]).toEqual(decayed[name])
      expect(none[name]).not.toEqual(decayed[name])
    }
    for (const name of bias) expect(spared[name]).toEqual(none[name])
  })

  it('with the same field of a tensor: the first group is used', async () => {
    const plain = await moves({})
    const grouped = await moves({
      groups: [
        { tensors: 'head*', ire: false },
        { tensors: 'head.weight', lr: 0.05 },
        { tensors: '*', lr: 0.02 },
      ],
    })
    for (const name of names) expectTimes(grouped[name], plain[name], name === 'head.weight' ? 0.5 : 0.2)
    const frozen = await moves({
      groups: [
        { tensors: 'head*', frozen: false },
        { tensors: '*', frozen: true },
      ],
    })
    expect(Object.keys(frozen)).toEqual(names.filter((name) => name.startsWith('head')))
  })

  it('with tensors to include and to exclude', async () => {
    const moved = await moves({ groups: [{ tensors: { exclude: 'head*' }, frozen: true }] })
    expect(Object.keys(moved)).toEqual(names.filter((name) => name.startsWith('head')))
    const tensors = { include: '*.weight', exclude: 'head*' }
    const [plain, grouped] = [await moves({}), await moves({ groups: [{ tensors, lr: 0.02 }] })]
    for (const name of names)
      expectTimes(grouped[name], plain[name], name.endsWith('weight') && !name.startsWith('head') ? 0.2 : 1)
    for (const exclude of ['no such*', ['head*', 'typo']])
      expect(await refusal({ groups: [{ tensors: { exclude }, lr: 0.02 }] })).toMatch(/^invalid-option/)
    expect(await refusal({ groups: [{ tensors: { excludes: 'head*' } as never }] })).toMatch(/excludes/)
  })

  it('frozen > not trained, and without a gradient in the graph', async () => {
    const trainer = await create({
      groups: [
        { tensors: 'head*', frozen: false },
        { tensors: ['*'], frozen: true },
      ],
    })
    expect(Object.keys(await trainer.parameters())).toEqual(names.filter((name) => name.startsWith('head')))
  })

  it('are unfrozen gradually, as if their training started there', async () => {
    const groups: ParameterGroup[] = [{ tensors: weight[0]!, frozen: { untilEpoch: 1 } }]
    const optimizer = adamw({ lr: 0.01 })
    expect(isZero((await moves({ groups, optimizer }, 5))[weight[0]!])).toBe(true)
    const sixth = (await moves({ groups, optimizer }, 6))[weight[0]!]!
    // The first step of Adam moves every coordinate by the learning rate, for any gradient.
    expect(isZero(sixth)).toBe(false)
    for (const x of sixth.filter((move) => move !== 0)) expect(Math.abs(x)).toBeCloseTo(0.01, 3)
    const steps = await moves({ groups: [{ tensors: weight[0]!, frozen: { untilStep: 5 } }], optimizer }, 6)
    expect(steps[weight[0]!]).toEqual(sixth)
  })

  it('without IRE > equal an optimizer without IRE, and only the others are ranked', async () => {
    const plain = await moves({})
    const enhanced = (groups: readonly ParameterGroup[]) =>
      moves({ optimizer: ire(sgd({ lr: 0.1 }), { kappa: 1, gamma: 1, interval: 1 }), groups })
    const all = await enhanced([])
    const some = await enhanced([{ tensors: 'head*', ire: false }])
    for (const name of names) {
      expectTimes(all[name], plain[name], 2)
      expectTimes(some[name], plain[name], name.startsWith('head') ? 1 : 2)
    }
  })

  it('invalid > rejects', async () => {
    expect(await refusal({ groups: [{ tensors: 'haed*', lr: 1 }] })).toMatch(/invalid-option: .*'haed\*'/)
    expect(await refusal({ groups: [{ tensors: '*', lr: -1 }] })).toMatch('invalid-option')
    expect(await refusal({ groups: [{ tensors: '*', frozen: true }] })).toMatch('every trainable tensor is frozen')
    expect(await refusal({ groups: [{ tensors: '*', rate: 1 } as never] })).toMatch("there is no option 'rate'")
    expect(await refusal({ groups: [{ tensors: '*', ire: true }] })).toMatch(
      /invalid-option: groups\[0\]: option 'ire'/,
    )
    expect(await refusal({ layerDecay: 2 })).toMatch('invalid-option')
    expect(await refusal({ layerDecay: { rate: 0.5 } as never })).toMatch("invalid-option: layerDecay: option 'layers'")
    expect(await refusal({ groups: { tensors: '*', lr: 1 } as never })).toMatch(
      "invalid-option: Trainer: option 'groups'",
    )
    expect(await refusal({ groups: [{ lr: 1 } as never] })).toMatch("invalid-option: groups[0]: option 'tensors'")
    expect(await refusal({ layerDecay: { rate: 0.5, layers: ['head*'] } })).toMatch(/layerDecay.layers/)
    expect(await refusal({ layerDecay: { rate: 0.5, layer: ['*'] } as never })).toMatch("there is no option 'layer'")
  })

  it('of tensors that the loss does not depend on > rejects', async () => {
    const x = input('x', 'float32', ['N', 6])
    const product = (name: string) =>
      op.MatMul(x, parameter(name, tensor('float32', [6, 3], new Float32Array(18).fill(0.1))))
    const outputs = new Map([
      ['logits', product('w')],
      ['aside', product('v')],
    ])
    const model = modelOf({ name: 'two heads', inputs: new Map([['x', x]]), outputs })
    const loss = crossEntropy({ logits: 'logits' })
    const groups = (tensors: string[]) => create({ loss, groups: [{ tensors, lr: 0.01 }] }, model)
    await expect(groups(['v'])).rejects.toThrow(errorWith('invalid-option', "groups[0]: option 'tensors' is 'v'"))
    expect(Object.keys(await (await groups(['*'])).parameters())).toEqual(['w'])
  })
})

describe('layer-wise decay', () => {
  it('multiplies the rate for every layer downstream of a tensor', async () => {
    const plain = await moves({})
    const decayed = await moves({ layerDecay: 0.5 })
    for (const name of names) expectTimes(decayed[name], plain[name], name.startsWith('head') ? 1 : 0.5)
    const listed = await moves({
      layerDecay: { rate: 0.1, layers: [names.filter((n) => !n.startsWith('head')), 'head*'] },
    })
    for (const name of names) expectTimes(listed[name], plain[name], name.startsWith('head') ? 1 : 0.1)
  })

  it('counts the layers of a transformer along its longest path, with norms and biases in their layers', () => {
    const graph = importGraph(
      modelFrom(transformer({ vocabulary: 11, context: 4, width: 8, heads: 2, layers: 1, seed: 0 })),
    )
    const behind = layerDepths(graph)
    const of = (pattern: RegExp) => [...behind].filter(([name]) => pattern.test(name)).map(([, layers]) => layers)
    // The output layer, which shares the weight of the embedding, is downstream of all other tensors.
    expect(Math.min(...behind.values())).toBe(1)
    const settings = resolveParameterSettings(graph.parameters, { layerDecay: 0.5 }, sgd(), () => behind, undefined)
    const last = [...behind].flatMap(([name, layers]) => (layers === 1 ? [name] : []))
    expect(last.filter((name) => settings[name]?.lrScale !== undefined)).toEqual([])
    const embedding = of(/embed/)
    expect(embedding.every((layers) => layers === Math.max(...behind.values()))).toBe(true)
  })
})

describe('layer depths', () => {
  const random = new Random(3)
  const drawn = (name: string, ...dims: readonly number[]) => parameter(name, normal(random, dims))
  const depthsOf = (inputs: readonly Value[], outputs: Readonly<Record<string, Value>>) =>
    Object.fromEntries(
      layerDepths(
        importGraph(
          modelOf({
            name: 'test',
            inputs: new Map(inputs.map((x) => [x.name!, x])),
            outputs: new Map(Object.entries(outputs)),
          }),
        ),
      ),
    )

  it('count downstream: a table that Slice cuts to the length, and a short branch', () => {
    const ids = input('ids', 'int64', ['N', 'L'])
    const placed = op.Slice(drawn('positions', 9, 4), [0], op.Shape(ids, { start: 1, end: 2 }), [0])
    const sum = op.Add(op.Gather(drawn('words', 7, 4), ids), placed)
    const hidden = op.MatMul(op.MatMul(sum, drawn('up', 4, 4)), op.Transpose(drawn('down', 4, 4), { perm: [1, 0] }))
    const outputs = { y: op.MatMul(hidden, drawn('head', 4, 2)), aside: op.MatMul(sum, drawn('side', 4, 2)) }
    expect(depthsOf([ids], outputs)).toEqual({ words: 3, positions: 3, up: 2, down: 1, head: 0, side: 0 })
  })

  it('count a Loop with a layer in its body', () => {
    const x = input('x', 'float32', ['N', 4])
    const inputs = [input('i', 'int64', []), input('go', 'bool', []), input('h', 'float32', ['N', 4])]
    const matrix = drawn('recurrent', 4, 4)
    const loop = body(inputs, (_, go, h) => [go!, op.MatMul(h!, matrix)])
    const first = op.MatMul(x, drawn('first', 4, 4))
    const [y] = op.Loop(constant(int64s(2)), null, [first], { body: loop })
    expect(depthsOf([x], { y: op.MatMul(y!, drawn('head', 4, 2)) })).toEqual({ first: 2, recurrent: 1, head: 0 })
  })
})

describe('freeze', () => {
  const head = names.filter((name) => name.startsWith('head'))
  const others = names.filter((name) => !name.startsWith('head'))

  it("except 'head' or patterns: trains these tensors only", async () => {
    for (const except of ['head', 'head*', ['head.weight', 'head.bias']])
      expect(Object.keys(await moves({ freeze: { except } }))).toEqual(head)
    const resized = await moves({ freeze: { except: 'head' }, head: { classes: 3 } })
    expect(Object.keys(resized)).toEqual(head)
  })

  it('until a step or an epoch: trains the other tensors from there on', async () => {
    for (const until of [{ untilStep: 5 }, { untilEpoch: 1 }]) {
      const freeze = { except: 'head', ...until }
      const [before, after] = [await moves({ freeze }, 5), await moves({ freeze }, 6)]
      expect(others.map((name) => isZero(before[name]))).toEqual(others.map(() => true))
      expect([...others, ...head].map((name) => isZero(after[name]))).toEqual(names.map(() => false))
      expect(head.map((name) => isZero(before[name]))).toEqual(head.map(() => false))
    }
  })

  it('groups come first', async () => {
    const moved = await moves({ freeze: { except: 'head' }, groups: [{ tensors: 'hidden0.bias', frozen: false }] })
    expect(Object.keys(moved).sort()).toEqual([...head, 'hidden0.bias'].sort())
  })

  it('refuses what it cannot honor', async () => {
    for (const freeze of [{ except: 'typo*' }, { except: [] }, {}, { except: 'head', untilStep: 1, untilEpoch: 1 }])
      expect(await refusal({ freeze: freeze as never })).toMatch(/^invalid-option/)
    for (const freeze of [
      { except: 'head', until: 2 },
      { except: 'head', untilStep: -1 },
    ])
      expect(await refusal({ freeze: freeze as never })).toMatch(/^invalid-option/)
  })
})
