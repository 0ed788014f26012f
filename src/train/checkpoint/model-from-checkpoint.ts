import { isFloat } from '../../ir/dtype.js'
import type { FloatArray } from '../../ir/float-array.js'
import { decodeSafetensors } from '../../ir/safetensors.js'
import { sizeOf, type Tensor } from '../../ir/tensor.js'
import { type Model, namedTensors } from '../../onnx/model.js'
import { checkArguments } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { replaceWeights } from '../model/replace-weights.js'
import { separateStatistics } from '../model/separate-statistics.js'
import { checkModelChecksums, checksumModel, type SourceChecksums } from './checksums.js'
import { parseMetadata } from './format.js'

/** Weights of a run: 'last' of the last step, 'ema' their moving average, 'best' the best on the validation data. */
export type WeightSelection = 'last' | 'ema' | 'best'

const prefixes = { last: ['parameter/', 'statistic/'], ema: ['ema/'], best: ['best/'] } as const

/**
 * Returns a model with the weights of a checkpoint, without a runtime: the same as `Trainer.export` after
 * `Trainer.restore`.
 *
 * @example
 * const model = await readModel('model.onnx')
 * const store = checkpointFolder('run/checkpoints')
 * const [newest] = await store.steps()
 * await writeModel('tuned.onnx', modelFromCheckpoint(model, await store.load(newest!), 'best'))
 *
 * @param original the model that the run started from; its head replaced, if the run replaced it
 * @throws OnnxIreError `damaged` for a damaged file, `checkpoint` for a checkpoint of another model or without these
 * weights
 */
export function modelFromCheckpoint(original: Model, checkpoint: Uint8Array, weights: WeightSelection = 'last'): Model {
  checkArguments('modelFromCheckpoint(original, checkpoint)', { checkpoint })
  const { tensors, metadata } = decodeSafetensors(checkpoint)
  const trainsStatistics = Object.keys(tensors).some((key) => key.startsWith('statistic/'))
  const model = trainsStatistics ? separateStatistics(original) : original
  const originals = namedTensors(model)
  const evaluation = metadata['evaluation'] === undefined ? [] : Object.entries(parseMetadata(metadata, 'evaluation'))
  const trained = Object.entries(tensors).flatMap(([key, { dtype, data }]) => {
    const prefix = prefixes[weights].find((each) => key.startsWith(each))
    if (prefix === undefined) return []
    const name = key.slice(prefix.length)
    const original = originals.get(name)
    const trainedAs = original?.dtype === 'float64' ? 'float64' : 'float32'
    if (!original || !isFloat(original.dtype) || trainedAs !== dtype || sizeOf(original.dims) !== data.length) {
      throw new OnnxIreError(
        'checkpoint',
        `the checkpoint belongs to another model: it has trained '${name}', ${dtype} with ${data.length} elements, but ` +
          (original
            ? `'${name}' of this model is ${original.dtype} [${original.dims.join(', ')}]`
            : 'this model has no tensor of that name'),
      )
    }
    const added = weights === 'last' && prefix === 'parameter/' ? evaluation : []
    return [[name, addMoments(data as FloatArray, name, added, tensors)] as const]
  })
  if (trained.length === 0)
    throw new OnnxIreError(
      'checkpoint',
      weights === 'last'
        ? 'the file has no trained tensors: it is not a checkpoint of onnx-ire'
        : `the checkpoint has no '${weights}' weights: set the trainer option ${weights} to save them`,
    )
  if (metadata['sources'] !== undefined) {
    const isTrained = (name: string) => prefixes.last.some((prefix) => Object.hasOwn(tensors, prefix + name))
    checkModelChecksums(parseMetadata(metadata, 'sources') as SourceChecksums, checksumModel(model, isTrained))
  }
  return replaceWeights(model, Object.fromEntries(trained))
}

/**
 * Returns weights + the sum of factor * moment: the weights at which an optimizer with `evaluation` is evaluated.
 * @throws OnnxIreError `checkpoint` if a moment is missing or a factor is no number
 */
function addMoments(
  weights: FloatArray,
  name: string,
  evaluation: readonly (readonly [moment: string, factor: unknown])[],
  tensors: Readonly<Record<string, Tensor>>,
): FloatArray {
  if (evaluation.length === 0) return weights
  const sums = weights.slice()
  for (const [moment, factor] of evaluation) {
    const array = getOwn(tensors, `state/${moment}/${name}`)?.data
    if (typeof factor !== 'number' || array?.length !== sums.length || array.constructor !== sums.constructor)
      throw new OnnxIreError(
        'checkpoint',
        `the checkpoint should have the state '${moment}' of '${name}', from which its weights are computed`,
      )
    for (let i = 0; i < sums.length; i++) sums[i]! += factor * (array as FloatArray)[i]!
  }
  return sums
}
