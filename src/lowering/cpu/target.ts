import type { Value } from '../../ir/value.js'
import { apply } from '../../op/apply.js'
import { unstack } from '../../op/compose/stack.js'
import type { Definition } from '../../op/define.js'
import type { convolution } from '../../op/definitions/convolution.js'
import { definitionOf, layout, op } from '../../op/op.js'
import type { AnyLowering, Lowerings, Target } from '../lowering.js'

/**
 * Lowerings for onnxruntime's CPU provider. It computes depthwise convolutions one channel at a time except in blocked
 * layout (see `blockedLayout`), to which its own optimizer converts only convolutions with constant weights.
 * @param block number of channels in a block
 */
export function cpuTarget(block: number): Target {
  const lowerings = {
    Conv: ([x, w, bias], attributes) =>
      isDepthwise(w, attributes.group) && attributes.group % block === 0
        ? toPlain(blockedConv(toBlocked(x, block), blockKernels(w, block), bias, attributes))
        : null,
  } satisfies Lowerings<typeof convolution>
  return { provider: 'cpu', lowerings: lowerings as unknown as Readonly<Record<string, AnyLowering>>, downlevel: {} }
}

/** Whether a convolution over two axes has a separate kernel [C, 1, ...] of several taps for every channel. */
export const isDepthwise = ({ dtype, shape }: Value, group: number): boolean =>
  dtype === 'float32' &&
  shape?.length === 4 &&
  shape[0] === group &&
  shape[1] === 1 &&
  typeof shape[3] === 'number' &&
  !(shape[2] === 1 && shape[3] === 1)

const blockedDefinition: Definition = { ...definitionOf('Conv'), domain: 'com.microsoft.nchwc', since: 1 }

/** A convolution of an image in blocked layout. */
const blockedConv = (x: Value, w: Value, bias: Value | null, attributes: Readonly<Record<string, unknown>>): Value =>
  apply({
    operator: 'Conv',
    definition: blockedDefinition,
    inputs: [x, w, bias],
    attributes: attributes as Parameters<typeof apply>[0]['attributes'],
  })[0]!

const toPlain = (blocked: Value): Value => layout.ReorderOutput(blocked, { channels: blocked.shape![1] as number })

/** Images [N, C, H, W] in blocked layout. Stacked images are stacked in blocked layout. */
function toBlocked(x: Value, block: number): Value {
  if (x.source.kind === 'node' && x.source.operator === 'ReorderOutput') return x.source.inputs[0]!
  const stacked = unstack(x)
  if (!stacked) return layout.ReorderInput(x)
  const { images, margins } = stacked
  const [, channels, height, width] = images.shape as readonly number[]
  const { left, below, right } = margins
  const rows = op.Reshape(toBlocked(images, block), [-1, channels! / block, height!, width! * block])
  const padded = op.Pad(rows, [0, 0, 0, left * block, 0, 0, below, right * block])
  return op.Reshape(op.Transpose(padded, { perm: [1, 0, 2, 3] }), [1, channels!, -1, left + width! + right])
}

/** Depthwise kernels [C, 1, ...] in blocked layout: that of one image with C channels. */
function blockKernels(w: Value, block: number): Value {
  const { source, shape } = w
  const [channels, , , columns] = shape as readonly number[]
  const given = source.kind === 'node' && source.operator === 'Reshape' ? source.inputs[0]! : undefined
  const image = given && unstack(given) ? given : op.Reshape(w, [1, channels!, -1, columns!])
  return op.Reshape(toBlocked(image, block), [channels!, 1, -1, columns!])
}
