import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { gradients, input, op, parameter, scalar, type Value } from '../../src/graph/index.js'
import { ctc, type Tensor } from '../../src/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import type { Tensors } from '../../src/ir/tensor.js'
import { withBodies } from '../../src/ir/topology.js'
import { node } from '../../src/node/index.js'
import { exportGraph } from '../../src/onnx/export/export-graph.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { errorWith } from '../thrown.js'
import { float, int, logSoftmax, normals, sum } from './problem.js'

const normal = normals(4)

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

/** Loss with its gradient by the logits. */
async function measure(options: Parameters<typeof ctc>[0], logits: Tensor, data: Tensors) {
  const z = parameter('z', logits)
  const dims = logits.dims.map((_, axis) => (axis === 2 ? logits.dims[2]! : `d${axis}`))
  const symbolic = input('z', 'float32', dims)
  const built = ctc(options).build(new Map([['y', op.Identity(symbolic)]]))
  const program = await runtime.compile(
    encode(
      'ModelProto',
      exportGraph({
        name: 'ctc',
        inputs: new Map([['z', symbolic], ...built.targets]),
        outputs: new Map([
          ['loss', built.loss],
          ['count', built.count],
          ['weight', built.weight ?? built.count],
          ['gradient', gradients([[built.loss, scalar('float32', 1)]], [symbolic])[0]!],
        ]),
      }),
    ),
  )
  const results = await program.run({ z: tensorOf(z), ...data })
  await program.release()
  const of = (name: string) => numbersOf(results[name]!)
  return { loss: of('loss')[0]!, count: of('count')[0]!, weight: of('weight')[0]!, gradient: of('gradient') }
}
const tensorOf = ({ source }: ReturnType<typeof parameter>): Tensor => (source as { tensor: Tensor }).tensor

interface Golden {
  readonly name: string
  readonly steps: number
  readonly classes: number
  readonly blank: number
  readonly labels: readonly (readonly number[])[]
  readonly inputLengths: readonly number[]
  readonly targetLengths: readonly number[]
  readonly logits: readonly number[]
  readonly losses: readonly number[]
  readonly gradient: readonly number[]
}
const golden = JSON.parse(readFileSync(new URL('ctc-of-torch.json', import.meta.url), 'utf8')) as Golden[]

describe('CTC equals PyTorch', () => {
  it.each(golden)('$name', async ({ steps, classes, blank, labels, logits, losses, gradient, ...lengths }) => {
    const n = labels.length
    // PyTorch gives an example that cannot be spelled the loss 0; here it does not count.
    const counting = losses.filter((loss) => loss > 0).length
    const data = {
      labels: int([n, labels[0]!.length], labels.flat()),
      steps: int([n], lengths.inputLengths),
      lengths: int([n], lengths.targetLengths),
    }
    const options = { timeFirst: true, blank, inputLengths: 'steps', targetLengths: 'lengths' }
    const result = await measure(options, float([steps, n, classes], logits), data)
    expect(result.count).toBe(counting)
    expect(result.loss).toBeCloseTo(sum(losses) / counting, 4)
    for (const [i, g] of result.gradient.entries()) expect(g).toBeCloseTo(gradient[i]! / counting, 5)
  })

  it('labels padded with the blank need no lengths; losses are divided by them if requested', async () => {
    const { steps, classes, blank, labels, logits, losses, targetLengths } = golden[0]!
    const n = labels.length
    const data = {
      labels: int(
        [n, 5],
        labels.flatMap((row) => [...row, blank, blank]),
      ),
    }
    const z = float([steps, n, classes], logits)
    expect((await measure({ timeFirst: true }, z, data)).loss).toBeCloseTo(sum(losses) / n, 4)
    const { loss } = await measure({ timeFirst: true, divideByLength: true }, z, data)
    expect(loss).toBeCloseTo(sum(losses.map((each, i) => each / targetLengths[i]!)) / n, 4)
  })
})

describe('CTC', () => {
  const [n, steps, classes] = [3, 5, 3]
  const logits = normal(n, steps, classes)
  const truth = [[1, 2], [2, 2], []]
  const weights = [1, 2, 0.5]
  const labels = int(
    [n, 2],
    truth.flatMap((row) => [...row, ...Array(2 - row.length).fill(0)]),
  )

  /** -log of the sum over all paths that spell the labels. */
  function plain(z: readonly number[], example: number, label: readonly number[]): number {
    const rows = Array.from({ length: steps }, (_, t) =>
      z.slice((example * steps + t) * classes, (example * steps + t + 1) * classes),
    )
    const logP = rows.map(logSoftmax)
    let total = 0
    for (let path = 0; path < classes ** steps; path++) {
      const at = Array.from({ length: steps }, (_, t) => Math.floor(path / classes ** t) % classes)
      const spelled = at.filter((c, t) => c !== 0 && c !== at[t - 1])
      if (spelled.join() === label.join()) total += Math.exp(sum(at.map((c, t) => logP[t]![c]!)))
    }
    return -Math.log(total)
  }
  const weighted = (z: readonly number[]) =>
    sum(truth.map((label, i) => weights[i]! * plain(z, i, label))) / sum(weights)

  it('equals the sum over all paths, with its gradient and sample weights', async () => {
    const z = numbersOf(logits)
    const result = await measure({ sampleWeights: 's' }, logits, { labels, s: float([n], weights) })
    expect(result.weight).toBeCloseTo(sum(weights))
    expect(result.loss).toBeCloseTo(weighted(z), 5)
    for (const [i, g] of result.gradient.entries()) {
      const moved = (by: number) => weighted(z.with(i, z[i]! + by))
      expect(g).toBeCloseTo((moved(1e-5) - moved(-1e-5)) / 2e-5, 5)
    }
  })

  it('is exact for long sequences and certain steps', async () => {
    const [length, count] = [400, 60]
    // Every label on two steps, then a blank, with logits of 50.
    const spelled = Array.from({ length: count }, (_, i) => 1 + (i % 4))
    const path = Array.from({ length }, (_, t) => (t % 3 === 2 || t >= 3 * count ? 0 : spelled[Math.floor(t / 3)]!))
    const z = float(
      [1, length, 5],
      path.flatMap((c) => [0, 1, 2, 3, 4].map((k) => (k === c ? 50 : 0))),
    )
    const { loss, gradient } = await measure({}, z, { labels: int([1, count], spelled) })
    expect(loss).toBeCloseTo(0, 3)
    expect(gradient.every((g) => Math.abs(g) < 1e-3)).toBe(true)
    const wrong = await measure({}, z, { labels: int([1, count], spelled.toReversed()) })
    expect(wrong.loss).toBeGreaterThan(1000)
    expect(wrong.gradient.every(Number.isFinite)).toBe(true)
  })

  it('a batch that cannot be spelled has loss 0 and gradient 0', async () => {
    const { loss, count, gradient } = await measure({}, normal(1, 2, 3), { labels: int([1, 3], [1, 1, 2]) })
    expect([loss, count]).toEqual([0, 0])
    expect(gradient.every((g) => g === 0)).toBe(true)
  })

  it('bypasses a trailing Softmax, and rejects invalid options and outputs', () => {
    const z = input('z', 'float32', ['N', 'T', 4])
    const { predictions } = ctc().build(new Map([['y', op.Softmax(z, { axis: 2 })]]))
    expect(predictions!.get('')).toMatchObject({ kind: 'sequences', logits: z })
    const timeFirst = new Map([['y', op.Transpose(op.Softmax(z, { axis: 2 }), { perm: [1, 0, 2] })]])
    const steps = ctc({ timeFirst: true }).build(timeFirst).predictions!.get('')!
    expect(withBodies([(steps as { logits: Value }).logits]).map(({ operator }) => operator)).toEqual([
      'Transpose',
      'Transpose',
    ])
    const outputs = new Map([['y', z]])
    expect(() => ctc({ blank: 4 }).build(outputs)).toThrow(errorWith('invalid-option', "'blank' is 4"))
    expect(() => ctc({ blank: -1 })).toThrow(errorWith('invalid-option', "'blank' is -1"))
    expect(() => ctc({ targetLengths: 'labels' }).build(outputs)).toThrow(errorWith('invalid-option', "'labels'"))
    const flat = new Map([['y', input('z', 'float32', ['N', 4])]])
    expect(() => ctc().build(flat)).toThrow(errorWith('invalid-option', '[N, T, C]'))
  })
})
