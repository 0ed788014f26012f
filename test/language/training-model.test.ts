import { describe, expect, it } from 'vitest'
import { fromExamples } from '../../src/data/index.js'
import { exportGraph, importGraph } from '../../src/graph/index.js'
import { crossEntropy, embedExternalData, encodeModel, type Model, sgd, type Tensor, Trainer } from '../../src/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import { readLanguageModel, type TrainingModelOptions, trainingModel } from '../../src/language/index.js'
import { modelFolder, node } from '../../src/node/index.js'
import { listInputs } from '../../src/onnx/import/declarations.js'
import { encode } from '../../src/onnx/proto/encode.js'
import { edit } from '../../src/onnx/proto/message.js'
import { run } from '../onnx/session.js'
import { needs } from '../requirements.js'
import { thrownMessage } from '../thrown.js'
import { committed, type Exported, exported, golden, readReference } from './models.js'

const int64 = (dims: readonly number[], values: readonly number[]): Tensor => ({
  dtype: 'int64',
  dims,
  data: BigInt64Array.from(values, BigInt),
})

/** Feeds of a file: the tokens, and a past of length 0. */
function fileFeeds(model: Model, ids: readonly number[]): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {}
  for (const { name = '', type } of listInputs(model.proto)) {
    const { shape, elemType } = type!.tensorType!
    if (name === 'use_cache_branch') feeds[name] = { dtype: 'bool', dims: [1], data: new Uint8Array(1) }
    else if (name.startsWith('past')) {
      const dims = shape!.dim.map(({ dimValue }, axis) => Number(dimValue ?? (axis === 0 ? 1 : 0)))
      const half = elemType === 10
      feeds[name] = half
        ? { dtype: 'float16', dims, data: new Uint16Array(0) }
        : { dtype: 'float32', dims, data: new Float32Array(0) }
    } else if (name === 'position_ids') feeds[name] = int64([1, ids.length], [...ids.keys()])
    else if (name === 'attention_mask') feeds[name] = int64([1, ids.length], Array(ids.length).fill(1))
    else feeds[name] = int64([1, ids.length], ids)
  }
  return feeds
}

/** Logits of the training form. */
async function trainingLogits(model: Model, ids: readonly number[], options?: TrainingModelOptions) {
  const { name, inputs, outputs } = importGraph(trainingModel(model, options))
  const bytes = encode('ModelProto', exportGraph({ name, inputs, outputs }))
  const feeds = fileFeeds(model, ids)
  const given = Object.fromEntries([...inputs.keys()].map((input) => [input, feeds[input]!]))
  return numbersOf((await run(bytes, given))['logits']!)
}

/** The largest difference, relative to the largest number. */
function largestDifference(a: readonly number[], b: readonly number[]): number {
  const largest = b.reduce((most, x) => Math.max(most, Math.abs(x)), 1)
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!) / largest), a.length === b.length ? 0 : 1)
}

const isHalf = ({ dtype }: Exported) => dtype === 'fp16' || dtype === 'q4f16'

/**
 * Largest difference to PyTorch: some constants of files in float16 are rounded, such as angles of the rotary
 * embedding; so is the scale of Gemma's embeddings in files of onnxruntime-genai.
 */
const toPyTorch = (each: Exported) => (isHalf(each) ? 0.1 : each.name.startsWith('gemma-genai') ? 5e-4 : 1e-5)
/** Largest difference to the file: those in float16 compute in float16, training in float32. */
const toFile = (each: Exported) => (isHalf(each) ? 0.1 : 1e-4)

/** Whether products of the file round their activations to 8 bits, which the graphs of a trainer do not. */
const roundsActivations = ({ proto }: Model) =>
  proto.graph!.node.some(({ attribute }) => attribute.some(({ name, i }) => name === 'accuracy_level' && i === 4n))

async function checkLogits(each: Exported): Promise<void> {
  const { model } = await readLanguageModel(modelFolder(each.folder), { dtype: each.dtype })
  if (roundsActivations(model)) return // the loss below is that of PyTorch
  for (const { ids, logits } of readReference(each.folder)) {
    const actual = await trainingLogits(model, ids)
    expect(largestDifference(actual.slice(-logits.length), logits)).toBeLessThan(toPyTorch(each))
    const bytes = encodeModel(embedExternalData(model))
    const expected = numbersOf((await run(bytes, fileFeeds(model, ids)))['logits']!)
    expect(largestDifference(actual, expected)).toBeLessThan(toFile(each))
  }
}

/** The loss of the references, before and after a step of gradient descent. */
async function checkStep(each: Exported): Promise<void> {
  const { model } = await readLanguageModel(modelFolder(each.folder), { dtype: each.dtype })
  const references = readReference(each.folder)
  const examples = references.map(({ ids }) => ({
    input_ids: int64([ids.length], ids),
    attention_mask: int64([ids.length], Array(ids.length).fill(1)),
    position_ids: int64([ids.length], [...ids.keys()]),
    labels: int64([ids.length], [...ids.slice(1), -100]),
  }))
  const padding = { input_ids: {}, attention_mask: {}, position_ids: {}, labels: { value: -100 } }
  const runtime = node()
  const trainer = await Trainer.create(trainingModel(model), {
    loss: crossEntropy({ logits: 'logits', ignoreIndex: -100 }),
    optimizer: sgd({ lr: 0.02 }),
    runtime,
    batchSize: 2,
  })
  try {
    const data = fromExamples(examples, { padding })
    const counts = references.map(({ ids }) => ids.length - 1)
    const expected =
      references.reduce((sum, { loss }, i) => sum + loss * counts[i]!, 0) / counts.reduce((a, b) => a + b, 0)
    const before = await trainer.evaluate(data)
    expect(before.loss).toBeCloseTo(expected, isHalf(each) ? 2 : 3)
    await trainer.train(data, { totalSteps: 1 })
    expect((await trainer.evaluate(data)).loss).toBeLessThan(before.loss - 1e-4)
  } finally {
    await trainer.dispose()
    await runtime.dispose()
  }
}

describe('trainingModel > a committed model', () => {
  it.each(committed)('$name > its logits equal those of PyTorch and of the file', checkLogits)
  it.each(committed)('$name > a step of training lowers the loss of PyTorch', checkStep)

  it('position ids from the mask > the logits of fed positions', async () => {
    const { model } = await readLanguageModel(modelFolder(`${golden}/llama-optimum`))
    expect(importGraph(trainingModel(model)).inputs.has('position_ids')).toBe(true)
    expect(importGraph(trainingModel(model, { positionIds: 'mask' })).inputs.has('position_ids')).toBe(false)
    const { ids } = readReference(`${golden}/llama-optimum`)[0]!
    expect(await trainingLogits(model, ids, { positionIds: 'mask' })).toEqual(await trainingLogits(model, ids))
  })

  it('pack > refused with pairs and with positions from the mask', async () => {
    const { model } = await readLanguageModel(modelFolder(`${golden}/qwen2-genai`))
    for (const more of [{ pairs: true }, { positionIds: 'mask' }] as const)
      expect(thrownMessage('invalid-option', () => trainingModel(model, { pack: true, ...more }))).toContain(
        Object.keys(more)[0],
      )
  })

  it('no language model > invalid-model', async () => {
    const { model } = await readLanguageModel(modelFolder(`${golden}/llama-optimum`))
    const graph = model.proto.graph!
    const input = graph.input.map((info) => edit(info, { name: `other_${info.name}` }))
    const other = { ...model, proto: edit(model.proto, { graph: edit(graph, { input }) }) }
    expect(thrownMessage('invalid-model', () => trainingModel(other))).toContain("'input_ids'")
  })
})

describe('trainingModel > models of tools/language/export.py', await needs('language models'), () => {
  it.each(exported)('$name > its logits equal those of PyTorch and of the file', checkLogits)
  it.each(exported)('$name > a step of training lowers the loss of PyTorch', checkStep)
})
