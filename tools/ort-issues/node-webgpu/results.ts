import { body } from '../../../src/ir/body.js'
import { input, scalar } from '../../../src/ir/leaf.js'
import { type Finding, firstLine, type Reproducer, type Reproducers } from '../issue.js'
import { difference, int64s, noise, of, op, type Probe, probe } from '../model.js'
import { runNode, startWebgpu, strictWebgpu, webgpuOptions } from '../node.js'

/** Runs a model on WebGPU and on the CPU provider, whose results are right in all of these. */
async function compare(model: Probe, tolerance = 1e-3): Promise<Finding> {
  const [right] = await runNode(model)
  const [y] = await runNode(model, strictWebgpu)
  const error = difference(y!.data, right!.data)
  return { present: error > tolerance, detail: `largest difference from the CPU: ${error.toPrecision(2)}` }
}

const wrong = (...models: readonly (() => Probe)[]): Reproducer => ({
  run: async () => {
    await startWebgpu()
    const findings: Finding[] = []
    for (const model of models) findings.push(await compare(model()))
    return { present: findings.some(({ present }) => present), detail: findings.map(({ detail }) => detail).join('; ') }
  },
})

/** A model that the provider accepts and cannot run, or that it cannot load; the CPU runs it. */
const failing = (reason: RegExp, ...models: readonly (() => Probe)[]): Reproducer => ({
  run: async () => {
    await startWebgpu()
    const details: string[] = []
    let present = false
    for (const model of models) {
      await runNode(model())
      try {
        await runNode(model(), webgpuOptions)
        details.push('runs')
      } catch (error) {
        const text = firstLine(error, 2000)
        const found = reason.exec(text)
        if (!found) throw error
        present = true
        details.push(found[0])
      }
    }
    return { present, detail: details.join('; ') }
  },
})

const conv = (channels: number, outputs: number) => () =>
  probe([noise('float32', [1, channels, 6, 5]), noise('float32', [outputs, channels, 3, 3], 1)], (x, w) =>
    op.Conv(x!, w!),
  )

const training = () =>
  probe(
    [
      noise('float32', [4, 2]),
      of('float32', [2], 1, 1),
      of('float32', [2], 0, 0),
      of('float32', [2], 0, 0),
      of('float32', [2], 1, 1),
    ],
    (x, scale, bias, mean, variance) =>
      op.BatchNormalization(x!, scale!, bias!, mean!, variance!, { training_mode: 1 }),
  )

const layer = (gates: number) => [
  noise('float32', [3, 1, 2]),
  noise('float32', [1, 2 * gates, 2], 1),
  noise('float32', [1, 2 * gates, 2], 2),
]

const matrix = () => [of('float32', [2, 3], 1, -2, 3, -4, 5, -6)]

export const resultIssues: Reproducers = {
  'webgpu-conv-wrong-channels': wrong(conv(6, 4), conv(9, 4), conv(18, 8)),
  'webgpu-convtranspose-wrong-groups': wrong(() =>
    probe([noise('float32', [2, 4, 5, 4]), noise('float32', [4, 1, 3, 3], 1)], (x, w) =>
      op.ConvTranspose(x!, w!, null, { group: 2 }),
    ),
  ),
  'webgpu-slice-backwards-wrong': wrong(
    () => probe([noise('float32', [7])], (x) => op.Slice(x!, [5], [0], [0], [-2])),
    () => probe([noise('float32', [7])], (x) => op.Slice(x!, [4], [1], [0], [-1])),
  ),
  'webgpu-reduce-no-axes-wrong': wrong(
    () => probe(matrix(), (x) => op.ReduceL1(x!, { noop_with_empty_axes: 1 })),
    () => probe(matrix(), (x) => op.ReduceL2(x!, { noop_with_empty_axes: 1 })),
    () => probe(matrix(), (x) => op.ReduceSumSquare(x!, { noop_with_empty_axes: 1 })),
    () => probe([of('float32', [2], 2, 3)], (x) => op.ReduceLogSum(x!, { noop_with_empty_axes: 1 })),
  ),
  'webgpu-einsum-broadcast-wrong': wrong(() =>
    probe([noise('float32', [2, 1]), noise('float32', [3, 4], 1)], (a, b) =>
      op.Einsum([a!, b!], { equation: 'ij,jk->ik' }),
    ),
  ),
  'webgpu-einsum-ellipsis-fails': failing(/Ellipsis dimensions mismatch/, () =>
    probe([noise('float32', [5, 1, 2, 3]), noise('float32', [1, 6, 3, 4], 1)], (a, b) =>
      op.Einsum([a!, b!], { equation: '...ij,...jk->...ik' }),
    ),
  ),
  'webgpu-conv-3d-groups-fail': failing(/Conv3D does not support grouped convolution/, () =>
    probe([noise('float32', [1, 2, 3, 3, 3]), noise('float32', [2, 1, 2, 2, 2], 1)], (x, w) =>
      op.Conv(x!, w!, null, { group: 2 }),
    ),
  ),
  'webgpu-convtranspose-3d-fails': failing(/Only Conv2d or Conv1d are supported/, () =>
    probe([noise('float32', [1, 2, 3, 3, 3]), noise('float32', [2, 1, 2, 2, 2], 1)], (x, w) =>
      op.ConvTranspose(x!, w!),
    ),
  ),
  'webgpu-batchnorm-training-fails': failing(/BatchNormalization trainingMode is not supported yet/, training),
  'webgpu-maxpool-indices-fail': failing(
    /The Indices output is not supported yet|Using column major storage_order is not supported yet/,
    () => probe([noise('float32', [1, 1, 4, 4])], (x) => op.MaxPool(x!, { kernel_shape: [2, 2] })),
    () => probe([noise('float32', [1, 1, 4, 4])], (x) => op.MaxPool(x!, { kernel_shape: [2, 2], storage_order: 1 })[0]),
  ),
  'webgpu-recurrent-activations-fail': failing(
    /Unsupported (?:GRU|LSTM) activation for WebGPU: \w+/,
    () =>
      probe(
        layer(3),
        (x, w, r) => op.GRU(x!, w!, r!, null, null, null, { hidden_size: 2, activations: ['HardSigmoid', 'Tanh'] })[0]!,
      ),
    () =>
      probe(
        layer(4),
        (x, w, r) =>
          op.LSTM(x!, w!, r!, null, null, null, null, null, {
            hidden_size: 2,
            activations: ['HardSigmoid', 'Tanh', 'Tanh'],
          })[0]!,
      ),
  ),
}

/** Models of one operator each that the provider leaves to the CPU, by what they show. */
const leftToCpu: Readonly<Record<string, () => Probe>> = {
  LogSoftmax: () => probe(matrix(), (x) => op.LogSoftmax(x!)),
  Sign: () => probe(matrix(), (x) => op.Sign(x!)),
  Mod: () => probe([...matrix(), ...matrix()], (x, y) => op.Mod(x!, y!, { fmod: 1 })),
  Round: () => probe(matrix(), (x) => op.Round(x!)),
  Softsign: () => probe(matrix(), (x) => op.Softsign(x!)),
  Selu: () => probe(matrix(), (x) => op.Selu(x!)),
  IsNaN: () => probe(matrix(), (x) => op.IsNaN(x!)),
  'Sum of three': () => probe([...matrix(), ...matrix(), ...matrix()], (x, y, z) => op.Sum([x!, y!, z!])),
  Hardmax: () => probe(matrix(), (x) => op.Hardmax(x!)),
  LRN: () => probe([noise('float32', [1, 2, 4, 4])], (x) => op.LRN(x!, { size: 3 })),
  EyeLike: () => probe(matrix(), (x) => op.EyeLike(x!)),
  SpaceToDepth: () => probe([noise('float32', [1, 1, 4, 4])], (x) => op.SpaceToDepth(x!, { blocksize: 2 })),
  NonZero: () => probe(matrix(), (x) => op.NonZero(x!)),
  OneHot: () =>
    probe([of('int64', [3], 0, 2, 1), of('float32', [2], 0, 1)], (x, values) => op.OneHot(x!, int64s(3), values!)),
  'Or, Xor': () => probe([of('bool', [2], 0, 1), of('bool', [2], 1, 1)], (x, y) => [op.Or(x!, y!), op.Xor(x!, y!)]),
  'Transpose of bool': () => probe([of('bool', [2, 2], 0, 1, 1, 1)], (x) => op.Transpose(x!)),
  'Add of int64': () => probe([of('int64', [2], 1, 2)], (x) => op.Add(x!, x!)),
  'Cast of int64': () => probe([of('int64', [2], 1, 2)], (x) => op.Cast(x!, { to: 1 })),
  'float64 Add': () => probe([of('float64', [2], 1, 2)], (x) => op.Add(x!, x!)),
}

const fallback = /fallback to CPU EP has been explicitly disabled/

async function onCpu(models: Readonly<Record<string, () => Probe>>): Promise<Finding> {
  await startWebgpu()
  const left: string[] = []
  for (const [name, model] of Object.entries(models)) {
    try {
      await runNode(model(), strictWebgpu)
    } catch (error) {
      if (!fallback.test(firstLine(error, 2000))) throw new Error(`${name}: ${firstLine(error)}`)
      left.push(name)
    }
  }
  const count = Object.keys(models).length
  return { present: left.length > 0, detail: `${left.length} of ${count} run on the CPU: ${left.join(', ') || 'none'}` }
}

const at = (operatorSet: number | undefined) => (operatorSet === undefined ? {} : { operatorSet })
const image = () => [noise('float32', [1, 2, 4, 4])]

/** Operators whose WebGPU kernels end with the operator set in their name. */
const ending: Readonly<Record<string, (operatorSet?: number) => Probe>> = {
  'Conv (24)': (set) => probe([...image(), noise('float32', [2, 2, 2, 2], 1)], (x, w) => op.Conv(x!, w!), at(set)),
  'ConvTranspose (21)': (set) =>
    probe([...image(), noise('float32', [2, 2, 2, 2], 1)], (x, w) => op.ConvTranspose(x!, w!), at(set)),
  'MaxPool (21)': (set) => probe(image(), (x) => op.MaxPool(x!, { kernel_shape: [2, 2] })[0], at(set)),
  'AveragePool (24)': (set) => probe(image(), (x) => op.AveragePool(x!, { kernel_shape: [2, 2] }), at(set)),
  'GlobalAveragePool (21)': (set) => probe(image(), (x) => op.GlobalAveragePool(x!), at(set)),
  'Transpose (24)': (set) => probe(matrix(), (x) => op.Transpose(x!), at(set)),
  'Pad (23)': (set) => probe(matrix(), (x) => op.Pad(x!, [0, 1, 0, 1]), at(set)),
  'Squeeze (24)': (set) => probe([noise('float32', [1, 3])], (x) => op.Squeeze(x!, [0]), at(set)),
  'Sin (21)': (set) => probe(matrix(), (x) => op.Sin(x!), at(set)),
  'Elu (21)': (set) => probe(matrix(), (x) => op.Elu(x!), at(set)),
  'HardSigmoid (21)': (set) => probe(matrix(), (x) => op.HardSigmoid(x!), at(set)),
}

export const fallbackIssues: Reproducers = {
  'webgpu-operators-left-to-cpu': { run: () => onCpu(leftToCpu), limit: 180 },
  'webgpu-loops-left-to-cpu': {
    run: () =>
      onCpu({
        Loop: () =>
          probe([noise('float32', [2])], (x) => {
            const inputs = [input('i', 'int64', []), input('go', 'bool', []), input('state', 'float32', [2])]
            const round = body(inputs, (_, go, state) => [op.Identity(go!), op.Sin(state!)])
            return op.Loop(scalar('int64', 3), null, [x!], { body: round })
          }),
        Scan: () =>
          probe([noise('float32', [2]), noise('float32', [3, 2])], (x, rows) => {
            const inputs = [input('state', 'float32', [2]), input('row', 'float32', [2])]
            const round = body(inputs, (state, row) => [op.Add(op.Sin(state!), row!)])
            return op.Scan([x!, rows!], { body: round, num_scan_inputs: 1 })
          }),
      }),
  },
  'webgpu-kernels-end-before-newest-set': {
    limit: 180,
    run: async () => {
      await startWebgpu()
      for (const model of Object.values(ending)) await runNode(model(), strictWebgpu)
      const later = Object.entries(ending).map(([name, model]) => {
        const next = Number(/\d+/.exec(name)![0]) + 1
        return [name, () => model(next)] as const
      })
      const { present, detail } = await onCpu(Object.fromEntries(later))
      return { present, detail: `one operator set later, ${detail}` }
    },
  },
}
