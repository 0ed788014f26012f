import { stat } from 'node:fs/promises'
import { applyAdapter } from '../../adapter/apply-adapter.js'
import { createAdapter } from '../../adapter/create-adapter.js'
import { countWeights, findLayers } from '../../adapter/layers.js'
import { isFloatWeight } from '../../adapter/merge-factors.js'
import { quantizeModel } from '../../adapter/quantize-model.js'
import { adapterOf } from '../../adapter/read-adapter.js'
import { adapterTensors } from '../../adapter/record.js'
import { sizeOf, totalSizeOf } from '../../ir/tensor.js'
import type { LanguageModel } from '../../language/language-model.js'
import { importGraph } from '../../onnx/import/import-graph.js'
import { type Model, namedTensors, replaceTensors } from '../../onnx/model.js'
import { tieTensors } from '../../train/model/tie-tensors.js'
import { findTrainable } from '../../train/model/trainable.js'
import { OnnxIreError } from '../../util/errors.js'
import { applyStored, type ExportForm, readAdapter, toModelForm } from '../stored-adapter.js'
import {
  adapterKinds,
  describeAdapter,
  listGiven,
  type NewAdapterKind,
  type NewAdapterOptions,
  readNewAdapter,
} from './adapter-options.js'

/** Options about what of a chat model is trained. */
export interface ChatAdapterRequest extends NewAdapterOptions {
  /** Kind of a new adapter, or path of one to continue; then without options of a new one. Default 'lora'. */
  readonly adapter?: string
  /** Whether a stored adapter may belong to another form of the model. */
  readonly anyBase?: true
}

/** The trained part of a chat model. */
export interface ChatAdapter {
  /** The model of the file with the adapter, or with a single tensor for an embedding and its copy. */
  readonly adapted: Model
  readonly trains: 'matrices' | 'factors' | 'weights'
  /** Whether training continues a stored adapter. */
  readonly isStored: boolean
  readonly about: string
  readonly warnings: readonly string[]
}

/**
 * Inserts a new adapter, or a stored one.
 * @throws OnnxIreError `invalid-option` for options of another adapter, or for weights that cannot be trained
 */
export async function createChatAdapter(
  request: ChatAdapterRequest & { readonly folder: string; readonly seed: number },
  { model, file }: LanguageModel,
): Promise<ChatAdapter> {
  const { adapter: kind = 'lora', anyBase, seed, folder } = request
  if (!isNewKind(kind)) return continueAdapter(kind, request, model)
  if (anyBase)
    throw new OnnxIreError(
      'invalid-option',
      `--any-base is for the path of an adapter, and --adapter is ${kind}: omit it`,
    )
  const options = readNewAdapter(kind, request, seed)
  const about = describeAdapter(options)
  if (!options) {
    checkFloat(model, file)
    const adapted = tieTensors(model)
    const tied = adapted === model ? '' : '; the embedding and the output layer that is a copy of it are one tensor'
    return { adapted, trains: 'weights', isStored: false, about: about + tied, warnings: [] }
  }
  const adapted = createAdapter(model, { ...options, taskType: 'CAUSAL_LM', baseModel: folder })
  return { adapted, trains: options.kind === 'ia3' ? 'factors' : 'matrices', isStored: false, about, warnings: [] }
}

const isNewKind = (value: string): value is NewAdapterKind => (adapterKinds as readonly string[]).includes(value)

async function continueAdapter(
  path: string,
  { anyBase, ...options }: ChatAdapterRequest,
  model: Model,
): Promise<ChatAdapter> {
  if (!(await stat(path).catch(() => null)))
    throw new OnnxIreError(
      'invalid-option',
      `--adapter is ${path}, which is no file or folder; it must be ${adapterKinds.join(', ')}, or the path of an adapter to continue`,
    )
  const [given] = listGiven(options)
  if (given)
    throw new OnnxIreError(
      'invalid-option',
      `${given[1]} is for a new adapter; that of ${path} keeps its own: omit ${given[1]} or --adapter`,
    )
  const stored = await readAdapter(path)
  return {
    adapted: applyStored(stored, path, model, anyBase ?? false),
    trains: stored.adapter.scalings ? 'factors' : 'matrices',
    isStored: true,
    about: `continues ${path}`,
    warnings: stored.warnings,
  }
}

/** Throws `invalid-option` for a model with quantized weights. */
function checkFloat(model: Model, file: string): void {
  const quantized = findLayers(model).find((layer) => !isFloatWeight(layer))
  if (quantized)
    throw new OnnxIreError(
      'invalid-option',
      `--adapter none trains all weights, and those of ${quantized.module} in ${file} have ${quantized.weight.bits} bits: take a float file of the folder with --dtype fp32 or fp16, or train an adapter`,
    )
}

/** Numbers of a plan about what is trained. */
export interface TrainedParts {
  /** Names of the layers with an adapter, and how many there are of each. */
  readonly layers: Readonly<Record<string, number>>
  /** Modules that are trained as a whole beside the adapter. */
  readonly saved: readonly string[]
  readonly trainable: number
  /** Parameters that are not trained: those of the linear layers, convolutions and embeddings. */
  readonly parameters: number
}

/** Counts what is trained of a model. @param form the model as it is trained */
export function countParts(base: Model, { adapted, trains }: ChatAdapter, form: Model): TrainedParts {
  if (trains === 'weights') {
    const graph = importGraph(form)
    const trainable = totalSizeOf(findTrainable(graph).values())
    return { layers: {}, saved: [], trainable, parameters: totalSizeOf(graph.parameters.values()) - trainable }
  }
  const { layers, scalings = [], saved = [] } = adapterOf(adapted)
  const names = new Map<string, number>()
  for (const { module } of [...layers, ...scalings]) {
    const name = module.slice(module.lastIndexOf('.') + 1)
    names.set(name, (names.get(name) ?? 0) + 1)
  }
  const tensors = namedTensors(adapted)
  return {
    layers: Object.fromEntries(names),
    saved: saved.map(({ module }) => module),
    trainable: adapterTensors(adapted).reduce((sum, name) => sum + sizeOf(tensors.get(name)!.dims), 0),
    parameters: countWeights(findLayers(base)),
  }
}

/** The model of the file with what was trained. @param trained the training form after the training */
export function takeTrained(base: Model, { trains, adapted }: ChatAdapter, trained: Model): Model {
  if (trains !== 'weights') return applyAdapter(base, adapterOf(trained))
  const [own, tensors] = [namedTensors(adapted), namedTensors(trained)]
  const names = [...findTrainable(importGraph(trained)).keys()].filter((name) => own.has(name))
  return replaceTensors(adapted, new Map(names.map((name) => [name, tensors.get(name)!])))
}

/** Converts a trained model to the form that is written. */
export function toWrittenForm(
  form: Exclude<ExportForm, 'peft' | 'onnx-adapter'>,
  { trains }: ChatAdapter,
  tuned: Model,
): Model {
  if (trains !== 'weights') return toModelForm(form, tuned)
  return form === 'q4' || form === 'q8' ? quantizeModel(tuned, { bits: form === 'q4' ? 4 : 8 }) : tuned
}
