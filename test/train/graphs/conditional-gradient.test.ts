import { afterAll, describe, expect, it } from 'vitest'
import { HostBackend } from '../../../src/backend/host.js'
import { Random } from '../../../src/data/index.js'
import {
  buildTrainingGraphs,
  importGraph,
  input,
  modelOf,
  op,
  parameter,
  scalar,
  type Value,
} from '../../../src/graph/index.js'
import {
  adamw,
  binaryCrossEntropy,
  combine,
  crossEntropy,
  type Graph,
  huber,
  ire,
  type Loss,
  l1,
  labelColumn,
  mse,
  type Runtime,
  type Tensor,
  Trainer,
} from '../../../src/index.js'
import { body } from '../../../src/ir/body.js'
import { mapArrays } from '../../../src/ir/float-array.js'
import { node } from '../../../src/node/index.js'
import { buildGraphs } from '../../../src/train/graphs/build.js'
import { prepareForTraining } from '../../../src/train/model/prepare-model.js'
import { Programs } from '../../../src/train/programs.js'
import { clusters, flat, normal, smallConvnet } from '../problem.js'

const runtime = node({ threads: 1 })
afterAll(() => runtime.dispose())

const [examples, features, width, classes] = [6, 4, 5, 3]
const random = new Random(8)

/** h = relu(x U), z = h V, p = softmax(z), t = tanh(z W): what a loss is built on depends on what another is. */
const model = (): Graph => {
  const x = input('x', 'float32', ['N', features])
  const [u, v, w] = [
    parameter('u', normal(random, [features, width])),
    parameter('v', normal(random, [width, classes])),
    parameter('w', normal(random, [classes, 2])),
  ]
  const h = op.Relu(op.MatMul(x, u))
  const z = op.MatMul(h, v)
  const outputs = { h, p: op.Softmax(z, { axis: 1 }), t: op.Tanh(op.MatMul(z, w)) }
  return importGraph(modelOf({ name: 'model', inputs: new Map([['x', x]]), outputs: new Map(Object.entries(outputs)) }))
}

const weights: Tensor = { dtype: 'float32', dims: [examples], data: Float32Array.of(1, 2, 0, 1, 3, 0.5) }
const data: Record<string, Tensor> = {
  x: normal(random, [examples, features]),
  labels: labelColumn([0, 2, 9, 1, 0, 2]),
  kinds: labelColumn([0, 2, 1, 1, 0, 2]),
  targets: normal(random, [examples, 2]),
  truths: { dtype: 'float32', dims: [examples, 2], data: Float32Array.from({ length: 12 }, (_, i) => i % 2) },
  weights,
}
const categorical = crossEntropy({
  logits: 'p',
  labelSmoothing: 0.1,
  classWeights: [1, 5, 0.5],
  sampleWeights: 'weights',
  ignoreIndex: 9,
})
/** A user's own: a weight is in it, and bodies beyond the model capture the noise. */
const own: Loss = {
  name: 'own',
  build(outputs) {
    const built = mse({ output: 't', targets: 'targets' }).build(outputs)
    const t = outputs.get('t')!
    const noise = built.sampled!.noise.get('noise/targets')!.value
    const total = (x: Value) => op.ReduceSum(x, null, { keepdims: 0 })
    const decay = op.ReduceSumSquare(graph.parameters.get('w')!, null, { keepdims: 0 })
    const round = [input('i', 'int64', []), input('go', 'bool', []), input('state', 'float32', t.shape)]
    const [moved] = op.Loop(scalar('int64', 2), null, [t], {
      body: body(round, (_, go, state) => [go!, op.Add(op.Tanh(state!), op.Mul(noise, t))]),
    })
    const [chosen] = op.If(op.Less(total(t), 0), {
      then_branch: body([], () => [op.Mul(t, noise)]),
      else_branch: body([], () => [op.Sin(t)]),
    })
    const { loss, ...others } = built.sampled!
    return {
      ...built,
      loss: op.Add(built.loss, decay),
      sampled: { ...others, loss: op.Add(loss, op.Add(decay, op.Add(total(moved!), total(chosen!)))) },
    }
  },
}
const losses: [string, Loss][] = [
  ['one’s own, with bodies', own],
  ['cross-entropy', crossEntropy({ logits: 'p', labels: 'kinds' })],
  ['cross-entropy, smoothed and weighted', categorical],
  ['squares', mse({ output: 't', targets: 'targets' })],
  ['magnitudes', l1({ output: 't', targets: 'targets' })],
  ['huber', huber({ output: 't', targets: 'targets' })],
  ['yes or no', binaryCrossEntropy({ logits: 't', targets: 'truths' })],
  [
    'of several outputs, one made of the other',
    combine({ a: { loss: categorical }, b: { loss: mse({ output: 't', targets: 'targets' }), weight: 3 } }),
  ],
]

/** Both kinds of gradients from separate graphs or from the combined graph. */
async function gradientsBy(joins: boolean, loss: Loss, microBatch: number | undefined) {
  const graphs = buildTrainingGraphs(graph, { loss, trainable: '*', curvature: 'sampled' })
  const backend = HostBackend.forEvaluation(runtime, graphs.parameters)
  Object.defineProperty(backend, 'fusesCurvature', { value: joins })
  const programs = new Programs(graphs, backend, microBatch)
  const batch = Object.fromEntries([...graphs.data.keys()].map((name) => [name, data[name]!]))
  const parameters = Object.fromEntries(
    [...graphs.parameters].map(([name, { source }]) => [
      name,
      (source as { tensor: Tensor }).tensor.data as Float32Array,
    ]),
  )
  const of = async (kind: 'loss' | 'curvature') => {
    const options = { kind, batch, size: examples, parameters, statistics: {}, random: new Random(4) }
    const result = await programs.gradient(options)
    // Gradients are valid until the next run.
    return { ...result, gradients: mapArrays(result.gradients, (array) => array.slice()) }
  }
  const found = { loss: await of('loss'), curvature: await of('curvature'), again: await of('loss') }
  await programs.release()
  return found
}
const graph = model()

describe('training and curvature in one program', () => {
  for (const [name, loss] of losses)
    for (const microBatch of [undefined, 4])
      it(`${name}${microBatch ? ', in micro-batches' : ''} > results equal those of two programs exactly`, async () => {
        const [one, two] = [await gradientsBy(true, loss, microBatch), await gradientsBy(false, loss, microBatch)]
        expect(one.loss).toEqual(two.loss)
        expect(one.again).toEqual(two.loss)
        expect(one.curvature).toEqual(two.curvature)
        const norm = flat(one.curvature.gradients).reduce((sum, g) => sum + g * g, 0)
        expect(norm).toBeGreaterThan(0)
        expect(flat(one.curvature.gradients)).not.toEqual(flat(one.loss.gradients))
      })

  it('and each separate graph is differentiated only when it is first read', () => {
    const x = input('x', 'float32', ['N', features])
    const [, scale] = op.DynamicQuantizeLinear(op.MatMul(x, parameter('w', normal(random, [features, classes]))))
    const z = op.MatMul(op.Unsqueeze(scale, [0, 1]), parameter('v', normal(random, [1, classes])))
    const graph = importGraph(modelOf({ name: 'model', inputs: new Map([['x', x]]), outputs: new Map([['z', z]]) }))
    const options = { loss: crossEntropy(), curvature: 'sampled' } as const
    const graphs = buildGraphs(prepareForTraining(graph, {}), options)
    const refused = expect.objectContaining({ code: 'not-differentiable' })
    expect(() => graphs.training).toThrow(refused)
    expect(() => graphs.curvature).toThrow(refused)
    expect(() => graphs.conditional!()).toThrow(refused)
    expect(() => buildTrainingGraphs(graph, options)).toThrow(refused)
  })

  it('is compiled once by a trainer with IRE, for any model', async () => {
    let compiled = 0
    const counting: Runtime = {
      ...runtime,
      compile: (model) => {
        compiled++
        return runtime.compile(model)
      },
    }
    const trainer = await Trainer.create(smallConvnet(), {
      loss: crossEntropy({ logits: 'logits' }),
      optimizer: ire(adamw(), { kappa: 2, gamma: 0.8, interval: 3, warmup: 1 }),
      runtime: counting,
      batchNorm: 'trained',
      batchSize: 6,
    })
    const refreshed: boolean[] = []
    for await (const _ of trainer.fit(clusters(12, [2, 8, 8]), {
      totalSteps: 6,
      evaluateEvery: 6,
      onStep: (step) => void refreshed.push(step.refreshed),
    }));
    await trainer.dispose()
    expect(refreshed).toEqual([false, true, false, false, true, false])
    expect(compiled).toBe(1)
  })
})
