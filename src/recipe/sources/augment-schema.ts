import type { AugmentationSpec } from '../../data/augment/registry.js'
import { choice, either, type JsonSchema, kind, kinds, list, object, real, whole } from '../../util/json-schema.js'

type Of<Kind extends AugmentationSpec['kind']> = Extract<AugmentationSpec, { readonly kind: Kind }>

const pair = (bounds: Omit<JsonSchema, 'type'>, description: string) =>
  list(real(bounds), { minItems: 2, maxItems: 2 }, description)

const size = either(
  [whole(1), list(whole(1), { minItems: 2, maxItems: 2 })],
  'the side of a square, or [rows, columns]',
)

/** What training does to images at random. */
export const augmentSchema: JsonSchema = list(
  kinds(
    object<Of<'crop'>>(
      {
        kind: kind('crop'),
        padding: whole(0, 'pixels put on every side before'),
        fill: either(
          [real({ minimum: 0, maximum: 255 }), choice(['mean', 'reflect'])],
          "the pixel value put there, 'mean' or 'reflect'",
        ),
        size,
      },
      ['kind'],
    ),
    object<Of<'flip'>>({ kind: kind('flip'), probability: real({ minimum: 0, maximum: 1 }) }, ['kind']),
    object<Of<'cutout'>>(
      { kind: kind('cutout'), size: whole(1, 'pixels of a side'), count: whole(1, 'how many squares') },
      ['kind', 'size'],
    ),
    object<Of<'resized-crop'>>(
      {
        kind: kind('resized-crop'),
        size,
        scale: pair({ exclusiveMinimum: 0, maximum: 1 }, "bounds of the part's share of the area"),
        ratio: pair({ exclusiveMinimum: 0 }, 'bounds of width / height'),
      },
      ['kind', 'size'],
    ),
    object<Of<'rand-augment'>>(
      {
        kind: kind('rand-augment'),
        operations: whole(1, 'operations per image'),
        magnitude: whole(0, 'how strong they are'),
        bins: whole(2, 'steps between none and the strongest'),
      },
      ['kind'],
    ),
  ),
  {},
  'what training does to the images at random, in order',
)
