import { describe, expect, it } from 'vitest'
import { fromArrays, labelColumn } from '../../src/data/arrays.js'
import { mixup } from '../../src/data/augment/mixup.js'
import { batches } from '../../src/data/batches.js'
import { checkMissingClass, classWeights, oneHot, oversample, withSampleWeights } from '../../src/data/classes.js'
import { type Dataset, split } from '../../src/data/dataset.js'
import { numbersOf } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { tensor } from '../../src/ir/tensor.js'
import { Random } from '../../src/util/random.js'
import { rejectedMessage, thrownMessage } from '../thrown.js'

describe('class indices', () => {
  it('are encoded as one-hot rows', () => {
    expect(oneHot([2, 0], 3)).toEqual(tensor('float32', [2, 3], Float32Array.of(0, 0, 1, 1, 0, 0)))
    expect(oneHot(tensor('int64', [1, 2], BigInt64Array.of(1n, 0n)), 2).dims).toEqual([1, 2, 2])
    expect(thrownMessage('invalid-data', () => oneHot([0, 3], 3))).toContain('label 1 is 3')
  })

  it("weigh classes as scikit-learn's 'balanced' does", () => {
    // compute_class_weight('balanced', classes=[0, 1, 2], y=[0, 0, 0, 1, 2, 2]) -> [0.667, 2, 1]
    const y = [0, 0, 0, 1, 2, 2]
    const weights = classWeights(labelColumn(y), 3)
    for (const [c, expected] of [2 / 3, 2, 1].entries()) expect(weights[c]).toBeCloseTo(expected, 6)
    expect(y.reduce((sum, c) => sum + weights[c]!, 0) / y.length).toBeCloseTo(1, 6)
    expect(thrownMessage('invalid-data', () => classWeights(y, 5))).toMatch('3, 4')
  })
})

describe('oversample', () => {
  const y = [0, 0, 0, 0, 0, 1, 2, 2]
  const data = fromArrays({ x: Float32Array.from(y, (_, i) => i), label: labelColumn(y) })
  const chosen = async (dataset: Dataset) => {
    const { x } = await dataset.batch(Array.from({ length: dataset.length }, (_, i) => i))
    return Array.from(x?.data ?? [], Number)
  }

  it('repeats small classes until all are equally frequent', async () => {
    const all = await chosen(oversample(data, labelColumn(y)))
    expect(all).toHaveLength(15)
    const of = (label: number) => all.filter((i) => y[i] === label)
    expect([0, 1, 2].map((label) => of(label).length)).toEqual([5, 5, 5])
    expect(of(0)).toEqual([0, 1, 2, 3, 4])
    expect(of(1)).toEqual([5, 5, 5, 5, 5])
    expect(new Set(of(2))).toEqual(new Set([6, 7])) // 2 of each, and one sampled
  })

  it('keeps examples of ignoreIndex once', async () => {
    const some = [0, 0, -100, 1, 0, -100, -100, -100]
    expect(await chosen(oversample(data, some, { ignoreIndex: -100 }))).toEqual([0, 1, 2, 3, 3, 3, 4, 5, 6, 7])
    expect(thrownMessage('invalid-data', () => oversample(data, some))).toMatch('label 2 is -100')
  })

  it('depends on its seed', async () => {
    const many = Array.from({ length: 40 }, (_, i) => (i < 27 ? 0 : 1))
    const wide = fromArrays({ x: Float32Array.from(many, (_, i) => i) })
    const by = (seed: number) => chosen(oversample(wide, many, { seed }))
    expect(await by(1)).toEqual(await by(1))
    expect(await by(1)).not.toEqual(await by(2))
    expect(thrownMessage('invalid-data', () => oversample(wide, y))).toMatch('8 labels for 40 examples')
  })
})

/** A data set whose statistics are the number of examples that they are computed from. */
function table(data: Dataset, count = data.length): Dataset {
  return { ...data, statistics: { x: { x: { offset: count } } }, fitTo: ({ length }) => table(data, length) }
}

describe('withSampleWeights', () => {
  it('adds a tensor of weights and rejects a name in use', async () => {
    const data = withSampleWeights(fromArrays({ x: Float32Array.of(5, 6, 7) }), [0.5, 1, 2])
    expect((await data.batch([2, 0]))['weight']).toEqual(tensor('float32', [2], Float32Array.of(2, 0.5)))
    expect(await rejectedMessage('invalid-data', async () => withSampleWeights(data, [1, 1, 1]).batch([0]))).toMatch(
      "'weight'",
    )
    expect(thrownMessage('invalid-data', () => withSampleWeights(data, [1, 1]))).toMatch('2 weights for 3 examples')
    expect(thrownMessage('invalid-data', () => withSampleWeights(data, [1, Number.NaN, 1]))).toMatch('weight 1 is NaN')
  })

  it('keeps what split needs: keys and classes, and statistics of the training part', async () => {
    const labels = Array.from({ length: 30 }, (_, i) => Number(i >= 20))
    const data = table(fromArrays({ x: Float32Array.from(labels, (_, i) => i), label: labelColumn(labels) }))
    const weights = labels.map((_, i) => i / 8)
    const [plain, weighted] = [data, withSampleWeights(data, weights)].map((each) => split(each, { validation: 0.2 }))
    expect(weighted!.train.statistics).toEqual({ x: { x: { offset: 24 } } })
    for (const part of ['train', 'validation'] as const) {
      const indices = Array.from({ length: plain![part].length }, (_, i) => i)
      const { weight, ...others } = await weighted![part].batch(indices)
      expect(others).toEqual(await plain![part].batch(indices))
      expect(numbersOf(weight!)).toEqual(numbersOf(others['x']!).map((x) => x / 8))
    }
  })
})

describe('mixup', () => {
  const n = 64
  const y = Array.from({ length: n }, (_, i) => i % 4)
  const data = fromArrays({
    // Rows from whose mixture the share and the partner follow: (class, 1, number).
    x: {
      dims: [n, 3],
      data: Float32Array.from({ length: 3 * n }, (_, i) => [y[Math.floor(i / 3)]!, 1, Math.floor(i / 3)][i % 3]!),
    },
    ids: labelColumn(y),
    label: labelColumn(y),
  })
  const mixed = mixup(data, { alpha: 0.4, classes: 4, labels: 'label' })
  const first = async (dataset: Dataset, shuffle?: Random, epoch = 0): Promise<Tensors> => {
    for await (const { tensors } of batches(dataset, { batchSize: n, shuffle, epoch })) return tensors
    throw new Error('no batch')
  }

  it('in evaluation keeps inputs and encodes labels as one-hot rows', async () => {
    const { x, label } = await first(mixed)
    expect(x).toEqual((await first(data))['x'])
    expect(label).toEqual(oneHot(y, 4))
  })

  it('in training mixes inputs and labels with the same shares', async () => {
    const { x, ids, label } = await first(mixed, new Random(1))
    const [inputs, rows] = [x?.data as Float32Array, label?.data as Float32Array]
    expect(ids?.dtype).toBe('int64')
    let changed = 0
    for (let i = 0; i < n; i++) {
      const row = rows.subarray(4 * i, 4 * i + 4)
      const sum = row.reduce((total, p) => total + p, 0)
      const meanClass = row.reduce((total, p, c) => total + p * c, 0)
      expect(sum).toBeCloseTo(1, 5)
      expect(inputs[3 * i + 1]).toBeCloseTo(1, 5)
      expect(inputs[3 * i]).toBeCloseTo(meanClass, 4)
      if (Math.max(...row) < 0.999) changed++
    }
    expect(changed).toBeGreaterThan(10)
  })

  it('differs between epochs, and is the same in every run', async () => {
    expect(await first(mixed, new Random(1))).toEqual(await first(mixed, new Random(1)))
    const [a, b] = [await first(mixed, new Random(1), 0), await first(mixed, new Random(1), 1)] as const
    const shares = ({ label }: Tensors) => Array.from(label?.data ?? [], Number).sort()
    expect(shares(a)).not.toEqual(shares(b))
  })

  it('mixes probabilities and float16, and only the named tensors', async () => {
    const both = fromArrays({
      a: tensor('float16', [2, 1], Uint16Array.of(0x3c00, 0x4000)), // 1, 2
      b: Float32Array.of(1, 2),
      p: { dims: [2, 2], data: Float32Array.of(0.25, 0.75, 1, 0) },
    })
    const only = mixup(both, { alpha: 1, classes: 2, labels: 'p', inputs: 'a' })
    const plain = await both.batch([0, 1])
    const { a, b, p } = await only.batch([0, 1], { random: new Random(4) })
    expect(b).toEqual(plain['b'])
    expect(a?.dtype).toBe('float16')
    expect(a).not.toEqual(plain['a'])
    const row = p?.data as Float32Array
    expect(row[0]! + row[1]!).toBeCloseTo(1, 6)
    expect(row).not.toEqual(plain['p']?.data)
  })

  it('rejects tensors that cannot be mixed', async () => {
    const of = (options: object) =>
      rejectedMessage('invalid-data', async () =>
        mixup(data, { alpha: 1, classes: 4, labels: 'label', ...options }).batch([0, 1], { random: new Random(1) }),
      )
    expect(await of({ labels: 'target' })).toMatch("'target'")
    expect(await of({ labels: 'x' })).toMatch("the labels 'x' are float32 [2, 3]")
    expect(await of({ inputs: 'ids' })).toMatch("'ids' is int64 [2]")
    expect(thrownMessage('invalid-option', () => mixup(data, { alpha: 0, classes: 4, labels: 'label' }))).toMatch(
      "'alpha' is 0",
    )
  })
})

describe('a class without a folder', () => {
  it('a folder with the same name in another Unicode form, or with almost the same one > invalid-data', () => {
    const missing = (name: string, ...folders: string[]) =>
      thrownMessage('invalid-data', () => checkMissingClass('photos', name, folders, ['b\u00e4r', '\u00f6', 'cat']))
    for (const name of ['b\u00e4r', '\u00f6'])
      expect(missing(name, 'cat', name.normalize('NFD'))).toMatch('encoded in another way: rename it')
    expect(missing('cat', 'cats')).toBe("photos has no folder 'cat', but 'cats', which is not among the classes")
    expect(() => checkMissingClass('photos', 'cat', ['b\u00e4r'], ['b\u00e4r', 'cat'])).not.toThrow()
  })
})
