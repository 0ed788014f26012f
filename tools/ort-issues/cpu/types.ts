import type { DType } from '../../../src/ir/dtype.js'
import type { Value } from '../../../src/ir/value.js'
import { type Finding, type Reproducers, throwing } from '../issue.js'
import { filled, float32s, noise, op, type Probe, probe } from '../model.js'
import { runNode } from '../node.js'

type Form = (dtype: DType) => Probe

const form =
  (dims: readonly (readonly number[])[], build: (...x: Value[]) => Value | readonly Value[]): Form =>
  (dtype) =>
    probe(
      dims.map((axes, i) => noise(dtype, axes, i)),
      build,
    )

const image = [1, 2, 4, 4]
/** x, W and R of a recurrent layer with `gates` gates. */
const layer = (gates: number) => [
  [3, 1, 2],
  [1, 2 * gates, 2],
  [1, 2 * gates, 2],
]

/** Operators that ONNX defines for float64 and that have a float32 kernel only. */
const float32Only: Readonly<Record<string, Form>> = {
  Conv: form([image, [1, 2, 2, 2]], (x, w) => op.Conv(x!, w!)),
  ConvTranspose: form([image, [2, 1, 2, 2]], (x, w) => op.ConvTranspose(x!, w!)),
  AveragePool: form([image], (x) => op.AveragePool(x!, { kernel_shape: [2, 2] })),
  LpPool: form([image], (x) => op.LpPool(x!, { kernel_shape: [2, 2] })),
  Resize: form([image], (x) => op.Resize(x!, null, float32s(1, 1, 2, 2), null, { mode: 'linear' })),
  InstanceNormalization: form([image, [2], [2]], (x, scale, bias) => op.InstanceNormalization(x!, scale!, bias!)),
  LRN: form([image], (x) => op.LRN(x!, { size: 3 })),
  Det: form([[2, 2]], (x) => op.Det(x!)),
  RNN: form(layer(1), (x, w, r) => op.RNN(x!, w!, r!, null, null, null, { hidden_size: 2 })),
  GRU: form(layer(3), (x, w, r) => op.GRU(x!, w!, r!, null, null, null, { hidden_size: 2 })),
  LSTM: form(layer(4), (x, w, r) => op.LSTM(x!, w!, r!, null, null, null, null, null, { hidden_size: 2 })),
  Softplus: form([[3]], (x) => op.Softplus(x!)),
  Gelu: form([[3]], (x) => op.Gelu(x!)),
  Tan: form([[3]], (x) => op.Tan(x!)),
  HardSigmoid: form([[3]], (x) => op.HardSigmoid(x!)),
}

const noKernel = /NOT_IMPLEMENTED|Could not find an implementation|Failed to find kernel|does not support double/

/** The issue of models that run in float32 and do not load, or do not run, in float64. */
async function float64Fails(form: Form, reason: RegExp): Promise<Finding> {
  await runNode(form('float32'))
  return throwing(() => runNode(form('float64')), reason)
}

const mixedTypes = /bound to different types/

export const typeIssues: Reproducers = {
  'cpu-float32-only-kernels': {
    run: async () => {
      const missing: string[] = []
      for (const [name, form] of Object.entries(float32Only)) {
        const { present } = await float64Fails(form, noKernel)
        if (present) missing.push(name)
      }
      return { present: missing.length > 0, detail: `no float64 kernel: ${missing.join(', ') || 'none missing'}` }
    },
  },
  'cpu-float64-quick-gelu-fusion': {
    run: () =>
      float64Fails((dtype) => probe([noise(dtype, [8])], (x) => op.Mul(x!, op.Sigmoid(op.Mul(x!, 1.702)))), noKernel),
  },
  'cpu-float64-attention-mask': {
    run: () => {
      const [heads, mask] = [
        [1, 1, 3, 2],
        [3, 3],
      ]
      const attention = form([heads, heads, heads, mask], (q, k, v, mask) =>
        op.Attention(q!, k!, v!, mask!, null, null, null, { is_causal: 1 }).slice(0, 1),
      )
      return float64Fails(attention, mixedTypes)
    },
  },
  'cpu-float64-mean-variance-normalization': {
    run: () =>
      float64Fails(
        form([image], (x) => op.MeanVarianceNormalization(x!)),
        mixedTypes,
      ),
  },
  'cpu-layernorm-float64-statistics': {
    run: async () => {
      const x = noise('float64', [1, 3])
      const [, mean] = await runNode(
        probe([x, filled('float64', [3], 1)], (x, scale) => op.LayerNormalization(x!, scale!, null, { axis: 1 })),
      )
      const right = (x.data as Float64Array).reduce((sum, value) => sum + value, 0) / 3
      const error = Math.abs(Number(mean!.data[0]) - right)
      return {
        present: mean!.type === 'float32',
        detail: `Mean of float64 data is ${mean!.type}, off by ${error.toExponential(1)}`,
      }
    },
  },
}
