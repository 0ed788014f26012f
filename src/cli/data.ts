import { arrays, labels } from '../data/arrays.js'
import { type Dataset, subset } from '../data/dataset.js'
import { images } from '../data/image.js'
import { OnnxIreError } from '../errors.js'
import { readIdx } from '../node/data/idx.js'
import type { Model } from '../onnx/model.js'
import { targetNameOf } from '../recipe/build.js'
import type { DataSource, IdxSource, LossRecipe } from '../recipe/recipe.js'
import { inputsOf } from '../train/inspect.js'

/** How each kind of source is opened. */
const openers: {
  readonly [K in DataSource['kind']]: (
    source: Extract<DataSource, { kind: K }>,
    input: string,
    loss: LossRecipe,
  ) => Promise<Dataset>
} = { idx: openIdx }

/**
 * Opens a recipe's source of examples for a model and a loss.
 * @param place the source's path in the recipe, for messages
 */
export async function openData(place: string, source: DataSource, model: Model, loss: LossRecipe): Promise<Dataset> {
  try {
    return await openers[source.kind](source, source.input ?? onlyInput(model), loss)
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    throw new OnnxIreError(cause.code, `${place}: ${cause.message}`, { cause })
  }
}

function onlyInput(model: Model): string {
  const names = inputsOf(model.proto).map(({ name = '' }) => name)
  if (names.length === 1) return names[0]!
  throw new OnnxIreError(
    'invalid-recipe',
    `the model has ${names.length} inputs${names.length > 0 ? ` (${names.join(', ')})` : ''}; name the one that takes the images: "input": "..."`,
  )
}

async function openIdx(source: IdxSource, input: string, loss: LossRecipe): Promise<Dataset> {
  const [pixels, targets] = await Promise.all([readIdx(source.images), readIdx(source.labels)])
  const data = arrays({
    [input]: images(pixels, source.image ?? {}),
    [targetNameOf(loss)]: loss.kind === 'cross-entropy' ? labels(targets) : targets,
  })
  const { start = 0, end = data.length } = source
  return start === 0 && end === data.length ? data : subset(data, { start, end })
}
