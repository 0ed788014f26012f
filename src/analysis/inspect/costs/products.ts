import type { Value } from '../../../ir/value.js'
import type { attention } from '../../../op/definitions/attention.js'
import type { convolution } from '../../../op/definitions/convolution.js'
import type { linalg } from '../../../op/definitions/linalg.js'
import type { blockQuantization } from '../../../op/definitions/quantization.js'
import { ELLIPSIS, parseEinsum } from '../../../op/einsum.js'
import { along, type Costs, product, size } from './cost.js'

/** One operation per output element for a bias. */
const added = (bias: Value | null, y: Value): number => (bias ? size(y) : 0)

/** Every tap of every window, those on padding too: 2 C/g k1 k2 ... for each output element. */
export const convolved = (w: Value, y: Value, bias: Value | null = null): number =>
  2 * size(y) * product(w.shape?.slice(1)) + added(bias, y)

export const multiplied = (a: Value, y: Value): number => 2 * size(y) * along(a, -1)

export const convolutionCosts = {
  Conv: ([, w, b], [y]) => convolved(w, y!, b),
  // Each input element is spread over M/g k1 k2 ... elements.
  ConvTranspose: ([x, w, b], [y]) => 2 * size(x) * product(w.shape?.slice(1)) + added(b, y!),
} satisfies Costs<typeof convolution>

export const linalgCosts = {
  MatMul: ([a], [y]) => multiplied(a, y!),
  Gemm: ([a, , c], [y], { transA }) => 2 * size(y!) * along(a, transA ? 0 : 1) + added(c, y!),
  Einsum: (xs, _, { equation }) => contracted(xs, equation),
  // By an LU decomposition.
  Det: ([x]) => (size(x) * along(x, -1) * 2) / 3,
  Inverse: ([x]) => 2 * size(x) * along(x, -1),
} satisfies Costs<typeof linalg>

/** Operands from left to right; an axis is summed over as soon as nothing further needs it. */
function contracted(xs: readonly Value[], equation: string): number {
  const { operands, output } = parseEinsum(
    equation,
    xs.map(({ shape }) => shape),
  )
  const lengths = new Map<string, number>([[ELLIPSIS, Number.NaN]])
  for (const [i, labels] of operands.entries())
    for (const [axis, label] of labels.entries())
      lengths.set(label, Math.max(lengths.get(label) ?? 1, along(xs[i]!, axis)))
  let held = new Set(operands[0])
  let total = operands.length === 1 && output.length < held.size ? size(xs[0]!) : 0
  for (let i = 1; i < operands.length; i++) {
    const met = new Set([...held, ...operands[i]!])
    const needed = new Set([...operands.slice(i + 1).flat(), ...output])
    held = new Set([...met].filter((label) => needed.has(label)))
    total += (held.size < met.size ? 2 : 1) * product([...met].map((label) => lengths.get(label)!))
  }
  return total
}

export const attentionCosts = {
  // q k^T, scale, mask, softmax and the product with v, for every pair of positions: masked ones are computed too.
  Attention: ([, , , mask], [, key, value, scores], { softcap }) =>
    size(scores!) * (2 * along(key!, -1) + 1 + (softcap ? 3 : 0) + (mask ? 1 : 0) + 5 + 2 * along(value!, -1)),
  RotaryEmbedding: ([x, cos], _, { num_heads, rotary_embedding_dim: turned }) => {
    const head = x.shape?.length === 3 && num_heads > 0 ? along(x, -1) / num_heads : along(x, -1)
    return 3 * size(x) * (turned === 0 ? 1 : (2 * along(cos, -1)) / head)
  },
} satisfies Costs<typeof attention>

export const blockQuantizationCosts = {
  // The weight is (q - zero point) scale.
  MatMulNBits: ([, , , , , bias], [y], { K, N }) => 2 * size(y!) * K + 2 * K * N + added(bias, y!),
  GatherBlockQuantized: (_, [y]) => 2 * size(y!),
} satisfies Costs<typeof blockQuantization>
