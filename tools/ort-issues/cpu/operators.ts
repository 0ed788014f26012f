import type { Tensor } from '../../../src/ir/tensor.js'
import type { Value } from '../../../src/ir/value.js'
import { type Finding, type Reproducers, throwing } from '../issue.js'
import {
  changeNodes,
  create,
  difference,
  edit,
  filled,
  int64Scalar,
  noise,
  of,
  op,
  type Probe,
  probe,
} from '../model.js'
import { loadNode, quiet, runNode, toOrt } from '../node.js'

/** Element-wise comparison with the right result. */
async function compare(model: Probe, right: ArrayLike<number>, tolerance = 1e-4): Promise<Finding> {
  const [y] = await runNode(model)
  const error = difference(y!.data, right)
  return { present: error > tolerance, detail: `largest difference from the right result: ${error.toPrecision(2)}` }
}

const batchNorm = (outputs: readonly string[]) => {
  const feeds = [noise('float32', [4, 2]), filled('float32', [2], 1), filled('float32', [2], 0)]
  return probe(
    [...feeds, of('float32', [2], 10, 20), of('float32', [2], 1, 1)],
    (x, scale, bias, mean, variance) =>
      op.BatchNormalization(x!, scale!, bias!, mean!, variance!, { training_mode: 1, momentum: 0 }),
    {
      change: (model) => {
        const kept = changeNodes(model, (node) =>
          node.opType === 'BatchNormalization' ? edit(node, { output: node.output.slice(0, outputs.length) }) : node,
        )
        return edit(kept, {
          graph: edit(kept.graph!, { output: kept.graph!.output.filter(({ name }) => outputs.includes(name!)) }),
        })
      },
    },
  )
}

/** A convolution or a pool without pads, whose attribute becomes SAME_UPPER in the model. */
const samePads = (feeds: readonly Tensor[], build: (...x: readonly Value[]) => Value): Probe =>
  probe(feeds, build, {
    symbolic: true,
    change: (model) =>
      changeNodes(model, (node) =>
        edit(node, {
          attribute: node.attribute.map((each) =>
            each.name === 'auto_pad' ? edit(each, { s: new TextEncoder().encode('SAME_UPPER') }) : each,
          ),
        }),
      ),
  })

/** Finds the lengths of outputs that have another one. */
async function compareLengths(models: Readonly<Record<string, Probe>>, right: number): Promise<Finding> {
  const found: string[] = []
  for (const [name, model] of Object.entries(models)) {
    const [y] = await runNode(model)
    if (y!.dims.at(-1) !== right) found.push(`${name} ${y!.dims.at(-1)}`)
  }
  return { present: found.length > 0, detail: `length of the result: ${found.join(', ') || right}; by ONNX: ${right}` }
}

/** X(f) = sum_t x(t) e^(-2 pi i f t / n) of complex numbers. */
function fourier(x: readonly (readonly [re: number, im: number])[], sign: 1 | -1): (readonly [number, number])[] {
  const n = x.length
  return x.map((_, f) =>
    x.reduce(
      ([re, im], [a, b], t) => {
        const angle = (sign * 2 * Math.PI * f * t) / n
        const [c, s] = [Math.cos(angle), Math.sin(angle)]
        return [re + a * c - b * s, im + a * s + b * c] as const
      },
      [0, 0] as const,
    ),
  )
}

export const operatorIssues: Reproducers = {
  'cpu-scatternd-add-race': {
    run: async () => {
      const count = 2 ** 20
      const { bytes, feeds } = probe(
        [filled('float32', [4], 0), filled('int64', [count, 1], 0), filled('float32', [count], 1)],
        (data, indices, updates) => op.ScatterND(data!, indices!, updates!, { reduction: 'add' }),
      )
      let least = count
      for (let i = 0; i < 5; i++) {
        const [y] = await runNode({ bytes, feeds }, { executionProviders: ['cpu'], intraOpNumThreads: 4 })
        least = Math.min(least, Number(y!.data[0]))
      }
      return { present: least < count, detail: `${count} additions of 1 to one element give ${least}` }
    },
  },
  'cpu-conv-no-channels-nan': {
    run: async () => {
      const feeds = (channels: number) => [
        filled('float32', [8, channels, 6, 6], Number.NaN),
        filled('float32', [5, channels, 1, 1], Number.NaN),
      ]
      const { bytes } = probe(feeds(3), (x, w) => op.Conv(x!, w!), { symbolic: true })
      const ort = loadNode()
      const session = await ort.InferenceSession.create(bytes, quiet)
      const run = async (channels: number) => {
        const tensors = feeds(channels).map((tensor, i) => [session.inputNames[i]!, toOrt(ort, tensor)])
        return (await session.run(Object.fromEntries(tensors)))[session.outputNames[0]!]!.data as Float32Array
      }
      // The first run leaves its numbers in the memory that the second one gets.
      await run(3)
      const y = await run(0)
      const wrong = y.filter((value) => value !== 0).length
      return { present: wrong > 0, detail: `${wrong} of ${y.length} sums over no channels are not 0` }
    },
  },
  'cpu-convtranspose-same-pads-short': {
    run: () => {
      const feeds = [noise('float32', [1, 1, 3]), noise('float32', [1, 1, 1])]
      const model = samePads(feeds, (x, w) => op.ConvTranspose(x!, w!, { strides: [2], auto_pad: 'VALID' }))
      return compareLengths({ ConvTranspose: model }, 6)
    },
  },
  'cpu-same-pads-negative': {
    run: async () => {
      const x = of('float32', [1, 1, 10], 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
      const attributes = { kernel_shape: [1], strides: [5], auto_pad: 'VALID' } as const
      const models = {
        Conv: samePads([x, filled('float32', [1, 1, 1], 1)], (x, w) => op.Conv(x!, w!, attributes)),
        AveragePool: samePads([x], (x) => op.AveragePool(x!, attributes)),
        LpPool: samePads([x], (x) => op.LpPool(x!, attributes)),
      }
      const found: string[] = []
      for (const [name, model] of Object.entries(models)) {
        const [y] = await runNode(model)
        if (y!.data[0] !== 0) found.push(`${name} ${y!.data[0]} and ${y!.data[1]}`)
      }
      return { present: found.length > 0, detail: `elements read: ${found.join(', ') || '0 and 5'}; by ONNX: 0 and 5` }
    },
  },
  'cpu-pool-same-pads-ignore-dilations': {
    run: () => {
      const feeds = [noise('float32', [1, 1, 8])]
      const attributes = { kernel_shape: [3], dilations: [2], auto_pad: 'VALID' } as const
      return compareLengths(
        {
          MaxPool: samePads(feeds, (x) => op.MaxPool(x!, attributes)[0]),
          AveragePool: samePads(feeds, (x) => op.AveragePool(x!, attributes)),
          LpPool: samePads(feeds, (x) => op.LpPool(x!, attributes)),
        },
        8,
      )
    },
  },
  'cpu-batchnorm-training-overwrites-inputs': {
    run: async () => {
      const feeds = [noise('float32', [4, 2]), of('float32', [2], 10, 20)]
      const model = probe(feeds, (x, old) => {
        const [mean, variance] = [op.Mul(old!, 3), op.Mul(old!, 5)]
        const [y, next] = op.BatchNormalization(x!, op.Mul(old!, 0), op.Mul(old!, 0), mean, variance, {
          training_mode: 1,
          momentum: 0,
        })
        // The second reader of `mean` runs after the normalization.
        return [op.Add(mean, op.Mul(op.ReduceSum(y, [0], { keepdims: 0 }), 0)), op.Add(next, 1)]
      })
      return compare(model, [30, 60])
    },
  },
  'cpu-batchnorm-training-three-outputs': {
    run: async () => {
      await runNode(batchNorm(['y0', 'y1', 'y2']))
      return throwing(() => runNode(batchNorm(['y0'])), /number of op outputs should be 3/)
    },
  },
  'cpu-batchnorm-population-variance': {
    run: async () => {
      const [, , variance] = await runNode(batchNorm(['y0', 'y1', 'y2']))
      const column = [0, 2, 4, 6].map((at) => (noise('float32', [4, 2]).data as Float32Array)[at]!)
      const mean = column.reduce((a, b) => a + b) / 4
      const squares = column.reduce((sum, x) => sum + (x - mean) ** 2, 0)
      const got = Number(variance!.data[0])
      const detail = `running variance ${got.toFixed(4)}; over n: ${(squares / 4).toFixed(4)}, over n - 1: ${(squares / 3).toFixed(4)}`
      return { present: Math.abs(got - squares / 4) < 1e-4, detail }
    },
  },
  'cpu-kernels-end-before-newest-set': {
    run: async () => {
      const models: Readonly<Record<string, (operatorSet?: number) => Probe>> = {
        'RoiAlign (21)': (operatorSet) =>
          probe(
            [noise('float32', [1, 1, 4, 4]), of('float32', [1, 4], 0, 0, 3, 3), of('int64', [1], 0)],
            (x, rois, batch) => op.RoiAlign(x!, rois!, batch!),
            operatorSet ? { operatorSet } : {},
          ),
        'MaxRoiPool (21)': (operatorSet) =>
          probe(
            [noise('float32', [1, 1, 4, 4]), of('float32', [1, 5], 0, 0, 0, 3, 3)],
            (x, rois) => op.MaxRoiPool(x!, rois!, { pooled_shape: [1, 1] }),
            operatorSet ? { operatorSet } : {},
          ),
        'GlobalLpPool (21)': (operatorSet) =>
          probe([noise('float32', [1, 1, 4, 4])], (x) => op.GlobalLpPool(x!), operatorSet ? { operatorSet } : {}),
        'RandomNormalLike (21)': (operatorSet) =>
          probe([noise('float32', [4])], (x) => op.RandomNormalLike(x!), operatorSet ? { operatorSet } : {}),
        'RandomUniformLike (21)': (operatorSet) =>
          probe([noise('float32', [4])], (x) => op.RandomUniformLike(x!), operatorSet ? { operatorSet } : {}),
        'Bernoulli (21)': (operatorSet) =>
          probe([filled('float32', [4], 0.5)], (x) => op.Bernoulli(x!), operatorSet ? { operatorSet } : {}),
        'Multinomial (21)': (operatorSet) =>
          probe([filled('float32', [1, 4], 0.5)], (x) => op.Multinomial(x!), operatorSet ? { operatorSet } : {}),
        'Swish (24)': (operatorSet) =>
          probe([noise('float32', [4])], (x) => op.Swish(x!), operatorSet ? { operatorSet } : {}),
      }
      const missing: string[] = []
      for (const [name, model] of Object.entries(models)) {
        await runNode(model())
        const next = Number(/\d+/.exec(name)![0]) + 1
        const { present } = await throwing(() => runNode(model(next)), noKernel)
        if (present) missing.push(name)
      }
      return {
        present: missing.length > 0,
        detail: `last operator set with a kernel: ${missing.join(', ') || 'all newer'}`,
      }
    },
  },
  'cpu-range-adds-up': {
    run: () => {
      const count = 10000
      const right = Array.from({ length: count }, (_, i) => i * Math.fround(0.1))
      const model = probe([of('float32', [], 0), of('float32', [], 1000), of('float32', [], 0.1)], (from, to, step) =>
        op.Range(from!, to!, step!),
      )
      return compare(model, right, 1e-3)
    },
  },
  'cpu-attention-needs-present-outputs': {
    run: async () => {
      const heads = [1, 1, 2, 2]
      const attention = (all: boolean) =>
        probe(
          [0, 1, 2, 3, 4].map((seed) => noise('float32', heads, seed)),
          (q, k, v, pastKey, pastValue) => op.Attention(q!, k!, v!, null, pastKey!, pastValue!)[0]!,
          { change: (model) => changeNodes(model, (node) => (all ? node : edit(node, { output: ['y0'] }))) },
        )
      await runNode(attention(true))
      return throwing(() => runNode(attention(false)), /present/)
    },
  },
  'cpu-dft-inverse-onesided-length': {
    run: () => {
      // The spectrum of a real signal of 6 elements, of which only the first 3 frequencies are given; the fourth is 0.
      const half = [
        [1, 0],
        [0.5, -0.25],
        [-0.75, 0.125],
      ] as const
      const whole = [...half, [0, 0] as const, ...[half[2], half[1]].map(([re, im]) => [re, -im] as const)]
      const right = fourier(whole, 1).map(([re]) => re / 6)
      const model = probe([of('float32', [1, 3, 2], ...half.flat())], (x) =>
        op.DFT(x!, int64Scalar(6), null, { inverse: 1, onesided: 1 }),
      )
      return compare(model, right)
    },
  },
  'cpu-stft-complex-window': {
    run: () => {
      const signal = Array.from({ length: 4 }, (_, i) => [Math.sin(i + 1), Math.cos(2 * i)] as const)
      const window = [0.5, 1, 0.75, 0.25]
      const right = fourier(
        signal.map(([re, im], i) => [re * window[i]!, im * window[i]!] as const),
        -1,
      ).flat()
      const model = probe([of('float32', [1, 4, 2], ...signal.flat()), of('float32', [4], ...window)], (x, window) =>
        op.STFT(x!, int64Scalar(4), window!, null, { onesided: 0 }),
      )
      return compare(model, right)
    },
  },
  'cpu-duplicate-node-names': {
    run: async () => {
      const model = (name: (i: number) => string) => {
        let i = 0
        return probe([noise('float32', [2])], (x) => op.Exp(op.Sin(x!)), {
          change: (proto) => changeNodes(proto, (node) => edit(node, { name: name(i++) })),
        })
      }
      await runNode(model((i) => `node${i}`))
      return throwing(() => runNode(model(() => 'node')), /same node name/)
    },
  },
  'inference-builds': {
    run: async () => {
      const model = (opType: string, domain: string, inputs: number) =>
        probe(
          Array.from({ length: inputs }, (_, i) => noise('float32', [2, 2], i)),
          (...x) => x.reduce((a, b) => op.Add(a, b)),
          {
            change: (proto) => {
              const node = create('NodeProto', {
                opType,
                domain,
                input: proto.graph!.input.map(({ name }) => name!),
                output: ['y0'],
              })
              const set = create('OperatorSetIdProto', { domain, version: 1n })
              return edit(proto, {
                graph: edit(proto.graph!, { node: [node] }),
                opsetImport: [...proto.opsetImport, set],
              })
            },
          },
        )
      const wanted = [
        ['SoftmaxGrad', 'com.microsoft', 2],
        ['ReluGrad', 'com.microsoft', 2],
        ['GeluGrad', 'com.microsoft', 2],
        ['Adam', 'ai.onnx.preview.training', 5],
      ] as const
      const missing: string[] = []
      for (const [name, domain, inputs] of wanted) {
        const { bytes } = model(name, domain, inputs)
        const { present } = await throwing(() => loadNode().InferenceSession.create(bytes, quiet), unregistered)
        if (present) missing.push(name)
      }
      return { present: missing.length === wanted.length, detail: `not registered: ${missing.join(', ') || 'none'}` }
    },
  },
  'newest-operator-set': {
    run: async () => {
      const model = (operatorSet: number, irVersion: bigint) =>
        probe([noise('float32', [2])], (x) => op.Sin(x!), {
          operatorSet,
          change: (proto) => edit(proto, { irVersion }),
        })
      await runNode(model(26, 13n))
      const set = await throwing(() => runNode(model(27, 13n)), /opset/i)
      const ir = await throwing(() => runNode(model(26, 14n)), /ir.?version/i)
      const detail = `operator set 27: ${set.detail}; IR version 14: ${ir.detail}`
      return { present: set.present && ir.present, detail }
    },
  },
}

const noKernel = /NOT_IMPLEMENTED|Could not find an implementation/
const unregistered = /not a registered function\/op/
