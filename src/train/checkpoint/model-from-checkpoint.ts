import { isFloat } from '../../ir/dtype.js'
import type { FloatArray } from '../../ir/float-array.js'
import { sizeOf } from '../../ir/tensor.js'
import { type Model, namedTensors } from '../../onnx/model.js'
import { OnnxIreError } from '../../util/errors.js'
import { replaceWeights } from '../model/replace-weights.js'
import { decodeSafetensors } from './safetensors.js'

/** Which weights of a run: those of its last step, their moving average, or those that were best on the validation data. */
export type WhichWeights = 'last' | 'ema' | 'best'

const roles = { last: ['parameter/', 'statistic/'], ema: ['ema/'], best: ['best/'] } as const

/**
 * The model a checkpoint stands for, without a runtime: what `Trainer.export` gives after `Trainer.restore`.
 * @param model the model the run started from, its head replaced if the run replaced it
 * @throws OnnxIreError `checkpoint` when the checkpoint is damaged or belongs to another model
 */
export function modelFromCheckpoint(model: Model, checkpoint: Uint8Array, weights: WhichWeights = 'last'): Model {
  const originals = namedTensors(model)
  const trained = Object.entries(decodeSafetensors(checkpoint).tensors).flatMap(([key, { dtype, data }]) => {
    const prefix = roles[weights].find((each) => key.startsWith(each))
    if (prefix === undefined) return []
    const name = key.slice(prefix.length)
    const original = originals.get(name)
    const trainedAs = original?.dtype === 'float64' ? 'float64' : 'float32'
    if (!original || !isFloat(original.dtype) || trainedAs !== dtype || sizeOf(original.dims) !== data.length) {
      throw new OnnxIreError(
        'checkpoint',
        `the checkpoint belongs to another model: it trained '${name}', ${dtype} of ${data.length} elements, ` +
          (original
            ? `which is ${original.dtype} [${original.dims.join(', ')}] in this one`
            : 'which this one does not have'),
      )
    }
    return [[name, data as FloatArray] as const]
  })
  if (trained.length === 0)
    throw new OnnxIreError(
      'checkpoint',
      weights === 'last'
        ? 'the file holds no trained tensors: it is no checkpoint of onnx-ire'
        : `the checkpoint holds no '${weights}' weights: the run did not keep them`,
    )
  return replaceWeights(model, Object.fromEntries(trained))
}
