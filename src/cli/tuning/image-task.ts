import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { subset } from '../../data/dataset.js'
import type { ImageOptions } from '../../data/image/image-column.js'
import { describeSkipped } from '../../data/image/image-files.js'
import { addUsage } from '../../data/model/model-usage.js'
import { formatShape } from '../../ir/shape.js'
import { crossEntropy } from '../../loss/cross-entropy.js'
import { accuracy } from '../../metric/accuracy.js'
import { f1 } from '../../metric/precision-recall.js'
import { imageFolder } from '../../node/data/image-folder.js'
import { writeFileAtomic } from '../../node/files/files.js'
import { makeFolder } from '../../node/files/make-folder.js'
import { readModel, writeModel } from '../../node/files/model.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { removeUnreadInputs } from '../../onnx/unread-inputs.js'
import { OnnxIreError } from '../../util/errors.js'
import { listFirst } from '../format.js'
import type { ModelTask, ModelTuningRequest } from './model-tuning.js'
import { findPixelRange } from './pixel-range.js'
import { predictClasses } from './samples.js'

/** Options of `tune image`. */
export interface ImageRequest extends ModelTuningRequest {
  readonly model: string
  readonly folder: string
  /** Side of the square input; default: that of the model. */
  readonly size?: number
  /**
   * Mean and standard deviation of the channels of pixels in [0, 1]. Default: `imageNet`, or none for a model that
   * scales pixels itself. Not for gray images.
   */
  readonly mean?: readonly number[]
  readonly std?: readonly number[]
}

const imageNet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }

/** Paths of the files that `tune image` writes. */
const filesIn = (folder: string) => ({ model: join(folder, 'model.onnx'), names: join(folder, 'classes.json') })

/** The model in the output folder of `tune image`; any other path as it is. */
export function findTunedModel(path: string): string {
  const { model, names } = filesIn(path)
  return existsSync(model) && existsSync(names) ? model : path
}

/** Prepares the training of an image classifier on a folder with one sub-folder per class. */
export async function prepareImage(request: ImageRequest): Promise<ModelTask> {
  const model = removeUnreadInputs(await readModel(request.model))
  const graph = importGraph(model)
  const { inputs } = graph
  const [input] = [...inputs.values()]
  const { shape } = input ?? {}
  if (inputs.size !== 1 || shape?.length !== 4)
    throw new OnnxIreError(
      'invalid-model',
      `${request.model} has the inputs ${[...inputs].map(([name, { shape }]) => `'${name}' ${formatShape(shape)}`).join(', ')}; a model of images has one, [N, channels, rows, columns]`,
    )
  const isLast = typeof shape[3] === 'number' && shape[3] <= 4
  const [rows, columns] = isLast ? [shape[1], shape[2]] : [shape[2], shape[3]]
  const size =
    request.size ?? (typeof rows === 'number' && typeof columns === 'number' ? ([rows, columns] as const) : undefined)
  if (size === undefined)
    throw new OnnxIreError('invalid-option', `${request.model} accepts images of any size: set --size`)
  const channels = isLast ? shape[3] : shape[1]
  const { mean, std } = request
  if (channels === 1 && (mean || std))
    throw new OnnxIreError(
      'invalid-option',
      `--${mean ? 'mean' : 'std'} is for images in color, and ${request.model} takes one channel: omit it`,
    )
  const range = mean || std ? undefined : findPixelRange(graph, input!)
  const normalized = channels === 1 || range ? {} : { mean: mean ?? imageNet.mean, std: std ?? imageNet.std }
  const image: ImageOptions = {
    size,
    fit: 'cover',
    layout: isLast ? 'NHWC' : 'NCHW',
    ...(channels === 1 && { channels: 1 }),
    ...(range === 255 ? { scale: 1 } : normalized),
  }
  const found = await imageFolder(request.folder, { image, input: input!.name! })
  const { classes } = found
  if (classes.length < 2)
    throw new OnnxIreError(
      'invalid-data',
      `${request.folder}: all images are in the folder '${classes[0]}'; a classifier needs two or more classes`,
    )
  const { model: output, names } = filesIn(request.output)
  const skipped = describeSkipped(found.skipped)
  return {
    task: 'image',
    file: request.model,
    model,
    data: found,
    options: { loss: crossEntropy(), metrics: [accuracy(), f1()], head: { classes: classes.length } },
    rates: { full: 3e-4, adapter: 1e-3 },
    about: `${classes.length} classes, with a new last layer: ${listFirst(classes)}${range ? `; pixels from 0 to ${range}, which the model scales itself` : ''}`,
    outputs: [output, names],
    warnings: skipped === undefined ? [] : [skipped],
    sampling: {
      input: (i) => found.files[i]!,
      expected: (i) => classes[found.labels[i]!]!,
      predict: (tuned, indices, runtime) => predictClasses(tuned, subset(found, indices), classes, runtime),
    },
    async write(tuned) {
      await makeFolder(request.output)
      await writeModel(output, addUsage(tuned, { task: 'image-classification', classes, image }))
      await writeFileAtomic(names, `${JSON.stringify(classes, null, 2)}\n`)
    },
  }
}
