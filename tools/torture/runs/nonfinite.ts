import {
  adamw,
  binaryCrossEntropy,
  crossEntropy,
  fromArrays,
  huber,
  ire,
  kl,
  type Loss,
  type Model,
  mse,
  namedTensors,
  OnnxIreError,
  replaceTensors,
  sam,
  sgd,
  Trainer,
} from 'onnx-ire'
import { Random, withSampleWeights } from 'onnx-ire/data'
import { modelOf } from 'onnx-ire/graph'
import { build } from 'onnx-ire/models'
import { node } from 'onnx-ire/node'
import type { Opened } from '../campaign.js'
import { judge, Verdict } from '../judge.js'
import { pick } from '../random.js'

/** Kinds of tensors that may hold a number that is not finite. */
const places = ['weight', 'statistics', 'input', 'target', 'sample weight'] as const

const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3e38, -3e38]

interface Problem {
  readonly loss: Loss
  /** Elements of a target, by example. */
  readonly targets: 'classes' | 'numbers' | 'binary' | 'probabilities'
}

const problems: Readonly<Record<string, () => Problem>> = {
  'cross-entropy': () => ({ loss: crossEntropy({ labels: 't' }), targets: 'classes' }),
  mse: () => ({ loss: mse({ targets: 't' }), targets: 'numbers' }),
  huber: () => ({ loss: huber({ targets: 't' }), targets: 'numbers' }),
  'binary-cross-entropy': () => ({ loss: binaryCrossEntropy({ targets: 't' }), targets: 'binary' }),
  kl: () => ({ loss: kl({ targets: 't' }), targets: 'probabilities' }),
}

const [examples, size, classes] = [32, 6, 3]

/**
 * Numbers that are not finite, put into each kind of tensor: a typed error, and the parameters from before the step.
 */
export async function open(): Promise<Opened> {
  const runtime = node({ worker: false, threads: 1 })
  const convnet = modelOf(build({ kind: 'convnet', channels: 1, stages: [3, 4], classes }))
  return {
    make(seed, random) {
      const place = places[seed % places.length]!
      const name = pick(random, Object.keys(problems))
      const value = pick(random, values)
      return {
        title: `${value} in a ${place}, ${name}`,
        async run(enter) {
          const { loss, targets } = problems[name]!()
          const verdict = new Verdict(enter)
          const at = random.integer(examples)
          const poison = (kind: (typeof places)[number], array: Float32Array, index: number) => {
            if (place === kind) array[index] = value
            return array
          }
          const x = new Random(seed).fill(new Float32Array(examples * size * size), 'normal')
          const weights = place === 'sample weight' ? poison(place, new Float32Array(examples).fill(1), at) : undefined
          const plain = fromArrays({
            x: { dims: [examples, 1, size, size], data: poison('input', x, at * size * size) },
            t: targetsOf(targets, new Random(seed), (array) => poison('target', array, at)),
          })
          const data = verdict.stage('sample weights', () => (weights ? withSampleWeights(plain, weights) : plain))
          if (!data) return verdict.outcome()
          const model = poisonModel(convnet, place, value, random)
          const base = random.integer(2) === 0 ? adamw({ lr: 0.01 }) : sgd({ lr: 0.01, momentum: 0.9 })
          const optimizer = pick(random, [
            base,
            ire(base, { kappa: 1, gamma: 0.5, interval: 2 }),
            sam(base, { rho: 0.05 }),
          ])
          enter('train')
          let before: Record<string, Float32Array> = {}
          try {
            const trainer = await Trainer.create(model, {
              loss,
              optimizer,
              runtime,
              batchSize: 8,
              seed,
              batchNorm: 'trained',
            })
            try {
              const onStep = async () => {
                before = copy(await trainer.parameters())
              }
              before = copy(await trainer.parameters())
              await trainer.train(data, { totalSteps: 6, onStep })
            } catch (error) {
              const fault = judge(error, 'train')
              verdict.expect(fault === undefined, fault?.cause ?? '', () => fault?.detail ?? '')
              if (error instanceof OnnxIreError && error.code === 'not-finite') {
                const after = copy(await trainer.parameters())
                const changed = Object.keys(after).filter((key) => !isSame(before[key]!, after[key]!))
                verdict.expect(changed.length === 0, "a 'not-finite' step has changed parameters", () =>
                  changed.join(', '),
                )
              }
              throw error
            } finally {
              // Huge numbers may overflow in the update itself, which the next step reports.
              const isExcused = place === 'weight' || Number.isFinite(value)
              const bad = Object.entries(await trainer.parameters()).filter(
                ([, array]) => !array.every(Number.isFinite),
              )
              verdict.expect(isExcused || bad.length === 0, 'parameters are not finite after training', () =>
                bad.map(([key]) => key).join(', '),
              )
              await trainer.dispose()
            }
          } catch (error) {
            verdict.stage('train', () => {
              throw error
            })
          }
          return verdict.outcome()
        },
      }
    },
  }
}

const copy = (arrays: Readonly<Record<string, ArrayLike<number>>>): Record<string, Float32Array> =>
  Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, Float32Array.from(array)]))

const isSame = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)) === 0

function targetsOf(kind: Problem['targets'], random: Random, poison: (array: Float32Array) => Float32Array) {
  if (kind === 'classes')
    return { dims: [examples], data: BigInt64Array.from({ length: examples }, () => BigInt(random.integer(classes))) }
  const numbers = Float32Array.from({ length: examples * classes }, () => random.uniform())
  if (kind === 'binary') for (const i of numbers.keys()) numbers[i] = Math.round(numbers[i]!)
  if (kind === 'probabilities') numbers.fill(1 / classes)
  return { dims: [examples, classes], data: poison(numbers) }
}

/** The model with one element replaced: of a trained weight, of running statistics, or of any tensor. */
function poisonModel(model: Model, place: (typeof places)[number], value: number, random: Random): Model {
  const names = [...namedTensors(model)].filter(([name, { dtype }]) => {
    const isStatistic = /mean|var/.test(name)
    return dtype === 'float32' && (place === 'statistics' ? isStatistic : place === 'weight' && !isStatistic)
  })
  if (names.length === 0) return model
  const [name, tensor] = pick(random, names)
  const data = Float32Array.from(tensor.data as Float32Array)
  data[random.integer(data.length)] = value
  return replaceTensors(model, new Map([[name, { ...tensor, data }]]))
}
