import type { AdapterOptions } from '../../adapter/create-adapter.js'
import { adapterTensors } from '../../adapter/record.js'
import type { Model } from '../../onnx/model.js'
import type { NamePatterns } from '../../util/pattern.js'
import type { FreezeOptions } from '../parameter-groups.js'
import type { HeadTensors } from './find-head.js'
import type { HeadOptions } from './replace-head.js'
import { replaceDefault, type Trainable } from './trainable.js'

/** Options that change a model before training, and the tensors to train. */
export interface StartOptions {
  /**
   * Lets a model whose file fixes the number of examples, often at 1, take any number, before all other changes, so
   * that training computes whole batches at once and the exported model takes any number too; see `freeBatch`. Without
   * effect on a model that takes any number. Default false.
   */
  readonly freeBatch?: boolean
  /**
   * Gives layers that share a tensor tensors of their own, before all other changes: true, or patterns of the names of
   * shared tensors, which `inspectModel` lists. Default false: they stay shared, and training changes them for all
   * layers.
   */
  readonly untie?: boolean | NamePatterns
  /**
   * Whether a last layer whose weight is a copy of the embedding reads the embedding instead, so that both are trained
   * as one tensor; see `tieTensors`. Default false: each is trained by itself.
   */
  readonly tie?: boolean
  /** Resizes the model's last layer, or all of which the output is the mean, before training; see `replaceHead`. */
  readonly head?: HeadOptions
  /**
   * Adds an adapter before training; see `lora`, and `ia3` for `kind: 'ia3'`. Only the adapter is trained, and with
   * `head` also the new layer, unless `trainable` says otherwise.
   */
  readonly adapter?: AdapterOptions
  /** Tensors to train; see `TrainingOptions`. */
  readonly trainable?: Trainable
  /** Tensors that are not trained; see `GroupOptions`. */
  readonly freeze?: FreezeOptions
}

/** Options about the tensors of a start model, by their names. */
type TensorOptions = Pick<StartOptions, 'trainable' | 'freeze'>

/**
 * Creates the model that training starts from, with its new head and its adapter, and the options about its tensors, in
 * which 'head' is replaced by names.
 */
export async function createStartModel(
  model: Model,
  { freeBatch, untie, tie, head, adapter, trainable, freeze }: StartOptions,
): Promise<TensorOptions & { readonly model: Model }> {
  // Code for rare options is loaded when they are given, so that pages load less.
  const free = freeBatch ? (await import('./free-batch-axis.js')).freeBatchAxis(model).model : model
  const tied = tie ? (await import('./tie-tensors.js')).tieTensors(free) : free
  const untied =
    untie === undefined || untie === false ? tied : (await import('./untie-tensors.js')).untieTensors(tied, untie)
  const resized = head ? (await import('./replace-head.js')).replaceHead(untied, head) : untied
  const heads = head || freeze?.except === 'head' ? await import('./find-head.js') : undefined
  const chosen: TensorOptions = {
    ...(trainable === undefined ? {} : { trainable }),
    ...(freeze && {
      freeze:
        heads && freeze.except === 'head'
          ? { ...freeze, except: allOf(heads.headTensors(resized, head ?? {})) }
          : freeze,
    }),
  }
  if (!adapter) return { model: resized, ...chosen }
  const own = heads && head ? heads.headTensors(resized, head) : { weights: [], biases: [] }
  const exclude = [...[adapter.exclude ?? []].flat(), ...own.weights]
  const { createAdapter } = await import('../../adapter/create-adapter.js')
  const adapted = createAdapter(resized, exclude.length > 0 ? { ...adapter, exclude } : adapter)
  if (!head) return { model: adapted, ...chosen }
  return {
    model: adapted,
    ...chosen,
    trainable: replaceDefault(trainable, [...adapterTensors(adapted), ...allOf(own)]),
  }
}

const allOf = ({ weights, biases }: HeadTensors) => [...weights, ...biases]
