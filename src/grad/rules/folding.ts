import { int64s } from '../../ir/leaf.js'
import { reshapeLike } from '../../op/compose/shape.js'
import { knownNumbers } from '../../op/contents.js'
import type { folding } from '../../op/definitions/pooling.js'
import { op } from '../../op/op.js'
import { windowOf } from '../../op/window.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Rules } from '../rule.js'
import { columnsOfImages } from './convolution/columns.js'

export const foldingRules = {
  // The adjoint of summing windows into an image is extracting them from it.
  Col2Im: ([x, image, block], dy, { attributes }) => {
    const kernel = knownNumbers(block)
    if (!kernel) throw new OnnxIreError('not-differentiable', 'Col2Im: its gradient needs a constant block_shape')
    const lengths = kernel.map((_, axis) => `?axis${axis}`)
    const window = windowOf({ ...attributes, auto_pad: 'NOTSET' }, kernel, lengths)
    const size = op.Reshape(image, [kernel.length])
    const images = op.Reshape(dy, op.Concat([int64s([-1, 1]), size], { axis: 0 }))
    return [reshapeLike(columnsOfImages(images, kernel, window, 1), x), null, null]
  },
  // If indices repeat, ONNX leaves open which element wins: all of them receive the gradient.
  MaxUnpool: ([, indices], dy) => [op.Gather(op.Reshape(dy, [-1]), indices), null, null],
} satisfies Rules<typeof folding>
