import type { ImageOptions } from '../../data/image/image-column.js'
import { choice, either, type JsonSchema, list, object, real, whole } from '../../util/json-schema.js'

const perChannel = either([real(), list(real(), { minItems: 1 })], 'a number, or a list of one per channel')

/** How pixels become a model's input. */
export const imageSchema: JsonSchema = object<ImageOptions>({
  size: either(
    [whole(1), list(whole(1), { minItems: 2, maxItems: 2 })],
    "the side of the model's square input, or [rows, columns]",
  ),
  fit: choice(['fill', 'contain', 'cover', 'none'], 'how images of another size get there'),
  channels: whole(1, "channels of the model's input"),
  scale: real({}, 'the factor on pixel values, 1/255 by default'),
  mean: perChannel,
  std: perChannel,
  background: real({ minimum: 0, maximum: 255 }, 'the pixel value beside the image'),
  layout: choice(['NCHW', 'NHWC'], 'the order of the axes'),
})

export const imageDims = list(whole(1), { minItems: 1 }, 'the dims in which the model takes one image')
