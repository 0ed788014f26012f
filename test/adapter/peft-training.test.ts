import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Adapter, type AdapterLayer, adapterOf, applyAdapter } from '../../src/adapter/index.js'
import { suffixes } from '../../src/adapter/stored-layers.js'
import { buildTrainingGraphs, importGraph, modelOf } from '../../src/graph/index.js'
import {
  adamw,
  crossEntropy,
  decodeModel,
  encodeModel,
  fromArrays,
  type Model,
  namedTensors,
  replaceTensors,
  type Tensor,
  type Tensors,
} from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { decodeSafetensors } from '../../src/ir/safetensors.js'
import { trainingModel } from '../../src/language/index.js'
import type { ExternalData } from '../../src/onnx/proto/external-data.js'
import { edit } from '../../src/onnx/proto/message.js'
import { toTensorProto } from '../../src/onnx/proto/tensor.js'
import { committed, type Exported, exported } from '../language/models.js'
import { difference, numbers, run } from '../onnx/session.js'
import { needs } from '../requirements.js'
import { startTrainers, train } from '../train/small-trainer.js'
import { goldenTensors, readGolden, readGoldenModel, readGoldenPeft } from './golden.js'

const { create } = startTrainers()
const { tensors } = decodeSafetensors(readGolden('training.safetensors'), { checksum: false })
const { ids, tokens } = goldenTensors()

/** A model with an adapter that tools/adapters/training.py has trained with PyTorch and PEFT, with their data. */
interface Subject {
  readonly name: string
  /** Prefix of the tensors in the file. */
  readonly key: string
  readonly model: Model
  readonly feeds: Tensors
  readonly tolerance: number
}

const small: readonly Subject[] = (['linear', 'kinds', 'rslora', 'dora', 'dora-kinds', 'llama'] as const).map((key) => {
  const base = key === 'llama' ? 'llama' : 'mixed'
  const model = applyAdapter(readGoldenModel(base), readGoldenPeft(key).adapter)
  const input = key === 'llama' ? { input_ids: tokens! } : { ids: ids! }
  return { name: key, key, model, feeds: { ...input, labels: tensors[`${base}/labels`]! }, tolerance: 1e-4 }
})

/** A language model of tools/language/export.py, with the random adapter of its shape. */
function languageSubject({ name, folder, dtype }: Exported): Subject {
  const key = `${name.split('-')[0]}-random`
  const file = join(folder, `onnx/model${dtype === 'fp32' ? '' : `_${dtype}`}.onnx`)
  const model = trainingModel(decodeModel(new Uint8Array(readFileSync(file)), externalIn(dirname(file))), {
    positionIds: 'mask',
  })
  const input = tensors[`${key}/ids`]!
  const mask: Tensor = { ...input, data: new BigInt64Array(input.data.length).fill(1n) }
  const feeds = { input_ids: input, attention_mask: mask, labels: tensors[`${key}/labels`]! }
  // Some constants of files in float16 are rounded, such as the rotary tables.
  const tolerance = dtype === 'fp16' || dtype === 'q4f16' ? 5e-2 : 1e-4
  return { name, key, model: applyAdapter(withExactScale(model), storedAdapter(key)), feeds, tolerance }
}

const externalIn = (folder: string): ExternalData => ({
  read: (location, offset, length) =>
    new Uint8Array(readFileSync(join(folder, location))).slice(offset, offset + (length ?? 0)),
})

/** A Gemma of onnxruntime-genai with sqrt(32) as the scale of its embeddings, which the exporter rounds to 5.66. */
const withExactScale = (model: Model): Model =>
  replaceTensors(
    model,
    new Map(
      [...namedTensors(model)].flatMap(([name, { dtype, dims }]) =>
        name.endsWith('FLOAT/5.66') ? [[name, tensorFrom(dtype, dims, [Math.sqrt(32)])]] : [],
      ),
    ),
  )

/** An adapter whose tensors are in the file. */
function storedAdapter(key: string): Adapter {
  const prefix = `${key}/adapter/base_model.model.`
  const modules = Object.keys(tensors).flatMap(
    (name) => /^(.*)\.lora_A\.weight$/.exec(name.split(prefix)[1] ?? '')?.[1] ?? [],
  )
  const layers = modules.map((module): AdapterLayer => {
    const [a, b] = ['A', 'B'].map((factor) => tensors[`${prefix}${module}.lora_${factor}.weight`]!)
    return { module, kind: 'linear', a: a!, b: b!, scale: 2 }
  })
  return { layers, config: { r: 1, alpha: 2 } }
}

const lossOf = ({ model }: Subject) => crossEntropy({ logits: model.proto.graph!.output[0]!.name! })

async function checkGradients(subject: Subject): Promise<void> {
  const { key, model, feeds, tolerance } = subject
  const { training, parameters } = buildTrainingGraphs(importGraph(model), { loss: lossOf(subject) })
  const inputs = new Map([...training.inputs].filter(([name]) => !parameters.has(name)))
  const results = await run(encodeModel(modelOf({ ...training, inputs })), feeds)
  expect(Math.abs(numbers(results['loss']!)[0]! / numbers(tensors[`${key}/losses`]!)[0]! - 1)).toBeLessThan(tolerance)
  for (const { module, kind, a, b, magnitude } of gradientsByLayer(model, results)) {
    const path = `${key}/grad/base_model.model.${module}`
    const { a: down, b: up } = suffixes(kind)
    expect(difference(a, tensors[path + down]!), path + down).toBeLessThan(tolerance)
    expect(difference(b, tensors[path + up]!), path + up).toBeLessThan(tolerance)
    // That of a convolution is [1, out, 1, 1] in PEFT.
    const expected = tensors[`${path}.lora_magnitude_vector`]
    if (magnitude)
      expect(difference(magnitude, { ...expected!, dims: magnitude.dims } as Tensor), path).toBeLessThan(tolerance)
  }
  expect(parameters.size).toBe(Object.keys(tensors).filter((name) => name.startsWith(`${key}/grad/`)).length)
}

async function checkLosses(subject: Subject): Promise<void> {
  const { key, model, feeds } = subject
  const options = { loss: lossOf(subject), optimizer: adamw({ lr: 1e-2, weightDecay: 0.1 }), batchSize: 2 }
  const trainer = await create(options, model)
  const intervals = await train(trainer, fromArrays(feeds), { totalSteps: 20, evaluateEvery: 1 })
  await trainer.dispose()
  const expected = numbers(tensors[`${key}/losses`]!)
  expect(expected.at(-1)).toBeLessThan(0.95 * expected[0]!)
  const tolerance = Math.max(1e-3, subject.tolerance)
  for (const [step, { loss }] of intervals.entries())
    expect(Math.abs(loss / expected[step]! - 1), `step ${step}`).toBeLessThan(tolerance)
}

const subjects = [...small, ...committed.map(languageSubject)].map((subject) => [subject.name, subject] as const)
describe.each(subjects)('training the adapter %s as PEFT does', (_, subject) => {
  it('has the loss and every gradient', () => checkGradients(subject))
  it('has the losses of twenty steps', () => checkLosses(subject))
})

describe('training adapters of models of tools/language/export.py', await needs('language models'), () => {
  it.each(exported)('$name > has the loss and every gradient of PEFT', (each) => checkGradients(languageSubject(each)))
  it.each(exported)('$name > has the losses of twenty steps of PEFT', (each) => checkLosses(languageSubject(each)))
})

/** The layers of a model's adapter, with gradients in place of their tensors, in PEFT's layout. */
function gradientsByLayer(model: Model, results: Tensors): readonly AdapterLayer[] {
  const gradients = Object.entries(results).flatMap(([key, value]): [string, Tensor][] =>
    key.startsWith('grad/') ? [[key.slice(5), value]] : [],
  )
  const graph = model.proto.graph!
  const inFloat32 = new Map(gradients.map(([key, value]) => [key, toTensorProto(key, value)]))
  const initializer = graph.initializer.map((tensor) => inFloat32.get(tensor.name ?? '') ?? tensor)
  return adapterOf({ ...model, proto: edit(model.proto, { graph: edit(graph, { initializer }) }) }).layers
}
