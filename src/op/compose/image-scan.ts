import { body } from '../../ir/body.js'
import { input } from '../../ir/leaf.js'
import type { Value } from '../../ir/value.js'
import type { AttributesOf } from '../define.js'
import type { control } from '../definitions/control.js'
import { op } from '../op.js'

/** Attributes of a convolution. */
type Attributes = Readonly<Record<string, unknown>>

export type ScanAttributes = AttributesOf<(typeof control)['Scan']['attributes']>

/** A convolution of an image [1, C, H, W] with one kernel per channel, [C, 1, h, w]. */
export type ConvolveImage = (image: Value, kernels: Value) => Value

/**
 * Sum over images of convolutions of one image of `x`, [N, C, H, W], with the kernels in the same image of `kernels`,
 * [N, C, h, w]: [1, C, ...]. They run in a Scan, because the number of groups of a convolution may not depend on the
 * number of images.
 */
export function sumOverImages(x: Value, kernels: Value, attributes: Attributes): Value {
  return op.ReduceSum(
    scanImages(x, kernels, (image, own) => op.Conv(image, own, attributes)),
    [0],
    { keepdims: 0 },
  )
}

/** The convolutions of all images, stacked along a new first axis. */
export function scanImages(x: Value, kernels: Value, convolve: ConvolveImage): Value {
  const slices = [x, kernels].map(({ dtype, shape }) => input('image', dtype, shape?.slice(1)))
  return op.Scan([x, kernels], {
    body: body(slices, (image, own) => [convolve(op.Unsqueeze(image!, [0]), op.Unsqueeze(own!, [1]))]),
    num_scan_inputs: 2,
  })[0]!
}

/** Attributes of the convolution in the body of a Scan that `scanImages` made; undefined for another Scan. */
export function scannedConvolution({ body: { inputs, outputs }, ...order }: ScanAttributes): Attributes | undefined {
  const [source] = outputs.map(({ source }) => source)
  if (inputs.length !== 2 || outputs.length !== 1 || source?.kind !== 'node') return undefined
  if (source.operator !== 'Conv' || source.domain !== '' || source.inputs[2]) return undefined
  const isSlice = (slice: number, oneAt: number) => {
    const value = source.inputs[slice]
    const isUnsqueezed = value?.source.kind === 'node' && value.source.operator === 'Unsqueeze'
    return isUnsqueezed && value.source.inputs[0] === inputs[slice] && value.shape?.[oneAt] === 1
  }
  const usual = [
    order.scan_input_axes,
    order.scan_input_directions,
    order.scan_output_axes,
    order.scan_output_directions,
  ]
  const isImageScan = isSlice(0, 0) && isSlice(1, 1) && !usual.flat().some(Boolean)
  return isImageScan && source.attributes['group'] === inputs[0]!.shape?.[0] ? source.attributes : undefined
}
