import { describe, expect, it } from 'vitest'
import { convnet } from '../../models/convnet.js'
import { mlp } from '../../models/mlp.js'
import { transformer } from '../../models/transformer.js'
import { Random } from '../../src/data/index.js'
import { encodeModel, type Graph, type Tensor } from '../../src/index.js'
import { numbers, run } from '../onnx/session.js'
import { modelFrom, normal } from '../train/problem.js'

const bytesOf = (graph: Graph): Uint8Array => encodeModel(modelFrom(graph))
const parameterCount = ({ parameters }: Graph): number =>
  [...parameters.values()].reduce((sum, { shape }) => sum + (shape as readonly number[]).reduce((a, b) => a * b, 1), 0)

const random = new Random(1)
const tokens = (...rows: readonly (readonly number[])[]): Tensor => ({
  dtype: 'int64',
  dims: [rows.length, rows[0]!.length],
  data: BigInt64Array.from(rows.flat(), BigInt),
})

describe('mlp', () => {
  it('784-512-512-10 has 669,706 parameters', () => {
    expect(parameterCount(mlp())).toBe(784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10)
  })

  it('graph > affine maps with ReLUs between them', async () => {
    const graph = mlp({ features: 3, hidden: [4], classes: 2, seed: 5 })
    const [w, b, v, c] = ['hidden0.weight', 'hidden0.bias', 'head.weight', 'head.bias'].map((name) => {
      const { source } = graph.parameters.get(name)!
      return source.kind === 'parameter' ? numbers(source.tensor) : []
    })
    const x = normal(random, [1, 3])
    const h = [0, 1, 2, 3].map((i) =>
      Math.max(0, b![i]! + numbers(x).reduce((sum, value, k) => sum + value * w![3 * i + k]!, 0)),
    )
    const y = [0, 1].map((i) => c![i]! + h.reduce((sum, value, k) => sum + value * v![4 * i + k]!, 0))
    const { logits } = await run(bytesOf(graph), { x })
    expect(logits!.dims).toEqual([1, 2])
    numbers(logits!).forEach((value, i) => {
      expect(value).toBeCloseTo(y[i]!, 6)
    })
  })
})

describe('convnet', () => {
  it('three stages of 16, 32 and 64 channels have 24,570 parameters', () => {
    const stages = [
      [3, 16],
      [16, 32],
      [32, 64],
    ] as const
    const expected = stages.reduce((sum, [from, to]) => sum + 9 * from * to + 4 * to, 64 * 10 + 10)
    expect(expected).toBe(24_570)
    expect(parameterCount(convnet())).toBe(expected)
  })

  it.each([
    [2, 32, 32],
    [1, 28, 28],
    [3, 9, 15],
  ])('%i images of %i x %i > are accepted', async (n, height, width) => {
    const { logits } = await run(bytesOf(convnet({ classes: 7 })), { x: normal(random, [n, 3, height, width]) })
    expect(logits!.dims).toEqual([n, 7])
    expect(numbers(logits!).every(Number.isFinite)).toBe(true)
  })
})

describe('transformer', () => {
  const options = { vocabulary: 13, context: 8, width: 16, heads: 4, layers: 2 }

  it('parameters > the head shares the embedding', () => {
    const block = 4 * (16 * 16 + 16) + (16 * 64 + 64) + (64 * 16 + 16) + 2 * 2 * 16
    expect(parameterCount(transformer(options))).toBe(13 * 16 + 8 * 16 + 2 * block + 2 * 16)
  })

  it('logits > one row per position, independent of later positions', async () => {
    const bytes = bytesOf(transformer(options))
    const { logits } = await run(bytes, { tokens: tokens([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 12, 11, 10, 9]) })
    expect(logits!.dims).toEqual([2, 8, 13])
    const all = numbers(logits!)
    const [first, second] = [all.slice(0, 8 * 13), all.slice(8 * 13)]
    expect(second.slice(0, 4 * 13)).toEqual(first.slice(0, 4 * 13))
    for (const position of [4, 5, 6, 7])
      expect(second.slice(position * 13, position * 13 + 13)).not.toEqual(
        first.slice(position * 13, position * 13 + 13),
      )
  })

  it('positions > change the logits', async () => {
    const { logits } = await run(bytesOf(transformer(options)), { tokens: tokens([5, 5, 5, 5, 5, 5, 5, 5]) })
    expect(numbers(logits!).slice(13, 26)).not.toEqual(numbers(logits!).slice(0, 13))
  })
})

describe('initial weights > depend on the seed and the name', () => {
  it.each([
    ['mlp', (seed: number) => mlp({ features: 5, hidden: [4], seed })],
    ['convnet', (seed: number) => convnet({ stages: [4], seed })],
    ['transformer', (seed: number) => transformer({ vocabulary: 7, context: 4, width: 8, heads: 2, layers: 1, seed })],
  ] as const)('%s > equal seed > equal bytes', (_, model) => {
    expect(Buffer.compare(bytesOf(model(3)), bytesOf(model(3)))).toBe(0)
    expect(Buffer.compare(bytesOf(model(3)), bytesOf(model(4)))).not.toBe(0)
  })

  it('added layer > the weights of earlier layers are unchanged', () => {
    const [short, long] = [mlp({ features: 5, hidden: [4] }), mlp({ features: 5, hidden: [4, 4] })]
    expect(long.parameters.get('hidden0.weight')!.source).toEqual(short.parameters.get('hidden0.weight')!.source)
  })
})
