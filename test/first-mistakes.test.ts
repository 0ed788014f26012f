import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { mlp } from '../models/mlp.js'
import { adapterOf, lora } from '../src/adapter/index.js'
import { constant, importGraph, input, modelOf, op, parameter, tensor } from '../src/graph/index.js'
import {
  accuracy,
  adamw,
  addTeacher,
  addUsage,
  combine,
  compileModel,
  crossEntropy,
  crossValidate,
  decodeModel,
  embedExternalData,
  encodeModel,
  evaluateModel,
  findLearningRate,
  findScoreKind,
  freeBatch,
  fromArrays,
  gradientModel,
  inspectModel,
  ire,
  labelColumn,
  modelFromCheckpoint,
  mse,
  namedTensors,
  predict,
  readUsage,
  replaceHead,
  replaceTensors,
  sam,
  split,
  Trainer,
  takeColumns,
  untieTensors,
} from '../src/index.js'
import { lossRegistry } from '../src/loss/registry.js'
import { node, plotCurves, readModel, writeModel } from '../src/node/index.js'

// Calls that the types reject, as they are made from JavaScript. Messages are for people; here only the words that
// name the field, or the call to make, are compared.
const any = (value: unknown): never => value as never

const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-mistakes-'))
const path = join(folder, 'model.onnx')
const graph = mlp({ features: 4, hidden: [4], classes: 3, seed: 0 })
const model = modelOf(graph)
const bytes = encodeModel(model)
writeFileSync(path, bytes)

const runtime = node({ threads: 1 })
afterAll(async () => {
  await runtime.dispose()
  rmSync(folder, { recursive: true })
})

const options = { loss: crossEntropy(), optimizer: adamw({ lr: 1e-3 }), runtime }
const data = fromArrays({
  x: { dims: [8, 4], data: new Float32Array(32) },
  labels: labelColumn([0, 1, 2, 0, 1, 2, 0, 1]),
})
const x = input('x', 'float32', [1, 3])
const one = tensor('float32', [1], Float32Array.of(1))

async function failureOf(call: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await call()
  } catch (error) {
    return error as { code: string; message: string }
  }
  throw new Error('the call did not fail')
}

async function drain(all: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of all);
}

describe('in place of the options of a loss', () => {
  for (const [name, { create }] of Object.entries(lossRegistry))
    it.each([null, 3, 'y'])(`${name} refuses %s`, async (value) => {
      const { code, message } = await failureOf(() => create(any(value)))
      expect(code).toBe('invalid-option')
      expect(message).toContain('pass an object with')
    })
})

describe('in place of a model', () => {
  const functions: Readonly<Record<string, (given: never) => unknown>> = {
    'Trainer.create': (given) => Trainer.create(given, options),
    evaluateModel: (given) => evaluateModel(given, data, { loss: crossEntropy(), runtime }),
    predict: (given) => drain(predict(given, data, { runtime })),
    addTeacher: (given) => addTeacher(data, given, { runtime }),
    inspectModel,
    importGraph,
    replaceHead: (given) => replaceHead(given, { classes: 2 }),
    untieTensors: (given) => untieTensors(given, true),
    namedTensors,
    readUsage,
    encodeModel,
    embedExternalData,
    lora,
    adapterOf,
    writeModel: (given) => writeModel(join(folder, 'out.onnx'), given),
  }
  const wrong: Readonly<Record<string, readonly [value: unknown, remedy: string]>> = {
    'a path': [path, 'readModel('],
    'a URL': [new URL('https://example.org/model.onnx'), 'readModel('],
    bytes: [bytes, 'decodeModel('],
    'a Buffer': [Buffer.from(bytes), 'decodeModel('],
    'a promise': [Promise.resolve(model), 'awaited'],
    'a graph': [graph, 'modelOf('],
    nothing: [undefined, 'readModel('],
  }

  for (const [name, call] of Object.entries(functions))
    it.each(Object.entries(wrong))(`${name} refuses %s`, async (_, [value, remedy]) => {
      const { code, message } = await failureOf(() => call(any(value)))
      expect(code).toBe('invalid-model')
      expect(message).toContain(remedy)
    })

  it('writeModel refuses a trainer, and a model before the path', async () => {
    const trainer = await Trainer.create(model, options)
    const [given, order] = [
      await failureOf(() => writeModel(path, any(trainer))),
      await failureOf(() => writeModel(any(model), any(path))),
    ]
    await trainer.dispose()
    expect(given).toMatchObject({ code: 'invalid-model', message: expect.stringContaining('trainer.export()') })
    expect(order).toMatchObject({ code: 'invalid-option', message: expect.stringContaining('(path, model)') })
  })
})

describe('in place of a path or of bytes', () => {
  it('a file URL and an ArrayBuffer > are read', async () => {
    const url = pathToFileURL(join(folder, 'a b.onnx'))
    await writeModel(url, model)
    expect(encodeModel(await readModel(url))).toEqual(bytes)
    expect(encodeModel(decodeModel(Uint8Array.from(bytes).buffer))).toEqual(bytes)
  })

  it.each([
    ['a Buffer', Buffer.from(bytes)],
    ['an address', 'https://example.org/model.onnx'],
    ['a URL', new URL('https://example.org/model.onnx')],
    ['nothing', undefined],
  ])('readModel names decodeModel for %s', async (_, value) => {
    const failure = await failureOf(() => readModel(any(value)))
    expect(failure).toMatchObject({ code: 'invalid-option', message: expect.stringContaining('decodeModel') })
  })

  it.each([['decodeModel', decodeModel] as const, ['gradientModel', gradientModel] as const])(
    '%s(path) names readModel',
    async (_, call) => {
      const failure = await failureOf(() => call(any(path)))
      expect(failure).toMatchObject({ code: 'invalid-model', message: expect.stringContaining('readModel') })
    },
  )
})

describe('a function that was not called, or a promise that was not awaited', () => {
  const create = (given: object) => Trainer.create(model, { ...options, ...given })
  const cases: Readonly<Record<string, readonly [call: () => unknown, field: string, remedy: string]>> = {
    runtime: [() => create({ runtime: node }), "'runtime'", 'node(...)'],
    'promise of a runtime': [() => create({ runtime: Promise.resolve(runtime) }), "'runtime'", 'awaited'],
    loss: [() => create({ loss: crossEntropy }), "'loss'", 'crossEntropy(...)'],
    optimizer: [() => create({ optimizer: adamw }), "'optimizer'", 'adamw(...)'],
    metric: [() => create({ metrics: [accuracy] }), 'metrics[0]', 'accuracy(...)'],
    'metric without a list': [() => create({ metrics: accuracy() }), 'metrics', '[accuracy()]'],
    'base of ire': [() => ire(any(adamw)), "'inner'", 'adamw(...)'],
    'base of sam': [() => sam(any(adamw)), "'base'", 'adamw(...)'],
    'loss of combine': [() => combine({ digit: { loss: any(mse) } }), "digit: option 'loss'", 'mse(...)'],
    'loss of evaluateModel': [
      () => evaluateModel(model, data, { loss: any(crossEntropy), runtime }),
      "'loss'",
      'crossEntropy(...)',
    ],
    'runtime of evaluateModel': [
      () => evaluateModel(model, data, { loss: crossEntropy(), runtime: any(node) }),
      "'runtime'",
      'node(...)',
    ],
    'runtime of predict': [() => drain(predict(model, data, { runtime: any(node) })), "'runtime'", 'node(...)'],
  }

  it.each(Object.entries(cases))('%s', async (_, [call, field, remedy]) => {
    const { code, message } = await failureOf(call)
    expect(code).toBe('invalid-option')
    expect(message).toContain(field)
    expect(message).toContain(remedy)
    expect(message).not.toContain('\n')
    expect(message.length).toBeLessThan(250)
  })
})

describe('options that are missing', () => {
  it('split takes a seed of 0 by default', () => {
    const heldOut = (given: { seed?: number }) => split(data, { validation: 0.25, ...given }).validation.batch([0, 1])
    expect(heldOut({})).toEqual(heldOut({ seed: 0 }))
  })

  const cases: Readonly<Record<string, () => unknown>> = {
    split: () => split(data, any(undefined)),
    'split with a share': () => split(data, any(0.1)),
    Trainer: () => Trainer.create(model, any(undefined)),
    predict: () => drain(predict(model, data, any(undefined))),
    evaluateModel: () => evaluateModel(model, data, any(undefined)),
    plotCurves: () => plotCurves([any({ x: 1, y: 2 })]),
  }
  it.each(Object.entries(cases))('%s', async (_, call) => {
    expect(await failureOf(call)).toMatchObject({ code: 'invalid-option' })
  })

  it('fit, and a second fit that has nothing to do', async () => {
    const trainer = await Trainer.create(model, options)
    expect(await failureOf(() => trainer.train(data, any(undefined)))).toMatchObject({ code: 'invalid-option' })
    await trainer.train(data, { totalEpochs: 1 })
    const second = await failureOf(() => trainer.train(data, { totalEpochs: 1 }))
    expect(second).toMatchObject({ code: 'invalid-option', message: expect.stringContaining('totalEpochs') })
    await trainer.dispose()
  })
})

describe('a call without one of its arguments', () => {
  type Call = (...given: never[]) => unknown
  const cases: Readonly<Record<string, readonly [missing: string, call: Call, given: readonly unknown[]]>> = {
    'compileModel with the model alone': ['model', compileModel, [model]],
    'compileModel with the runtime alone': ['model', compileModel, [runtime]],
    'evaluateModel without data': ['options', evaluateModel, [model, options]],
    'evaluateModel with the model alone': ['data', evaluateModel, [model]],
    'predict without data': ['options', (...given) => drain(predict(...(given as [never, never, never]))), [model, {}]],
    'findLearningRate without data': ['options', findLearningRate, [model, options]],
    'crossValidate without options': ['options', crossValidate, [data]],
    'Trainer.create with the model alone': ['options', Trainer.create, [model]],
    freeBatch: ['options', freeBatch, [model]],
    replaceHead: ['options', replaceHead, [model]],
    untieTensors: ['which', untieTensors, [model]],
    replaceTensors: ['replacements', replaceTensors, [model]],
    modelFromCheckpoint: ['checkpoint', modelFromCheckpoint, [model]],
    'addTeacher without data': ['options', addTeacher, [model, { runtime }]],
    addUsage: ['usage', addUsage, [model]],
    takeColumns: ['statistics', takeColumns, [model]],
    findScoreKind: ['output', findScoreKind, [model]],
  }
  it.each(Object.entries(cases))('%s > names the argument and the call', async (name, [missing, call, given]) => {
    const { code, message } = await failureOf(() => call(...(given as never[])))
    expect(code).toBe('invalid-option')
    expect(message).toMatch(new RegExp(`^${name.split(' ')[0]}: the argument '${missing}' is missing; .*\\(`))
  })

  it('fit without options', async () => {
    const trainer = await Trainer.create(model, options)
    const failure = await failureOf(() => trainer.train(data, any(undefined)))
    await trainer.dispose()
    expect(failure).toMatchObject({ code: 'invalid-option', message: expect.stringContaining('fit(data, ') })
  })
})

describe('a value of the wrong kind, or an option that does not exist', () => {
  const cases: Readonly<Record<string, readonly [call: () => unknown, field: string]>> = {
    'combine without tasks': [() => combine(any(undefined)), 'combine: the tasks are undefined'],
    'combine with no task': [() => combine({ digit: any(null) }), "'digit' is null"],
    'a loss of null': [() => crossEntropy(any(null)), 'crossEntropy: the options are null'],
    'balanced class weights': [() => crossEntropy({ classWeights: any('balanced') }), "'classWeights' is 'balanced'"],
    'a learning rate without an optimizer': [
      () => findLearningRate(model, data, any({ loss: crossEntropy(), runtime })),
      "findLearningRate: option 'optimizer'",
    ],
    decayVectors: [() => Trainer.create(model, { ...options, decayVectors: any('no') }), "'decayVectors' is 'no'"],
    clipNorm: [() => Trainer.create(model, { ...options, clipNorm: any('1') }), "'clipNorm' is '1'"],
    'an option of evaluateModel': [
      () => evaluateModel(model, data, any({ loss: crossEntropy(), runtime, batch: 2 })),
      "evaluateModel: there is no option 'batch'",
    ],
    onStep: [() => train({ onStep: 'log' }), "'onStep' is 'log'"],
    resume: [async () => (await Trainer.create(model, options)).resume(any(undefined)), "resume: option 'store'"],
  }
  const train = async (given: object) =>
    (await Trainer.create(model, options)).train(data, any({ totalSteps: 1, ...given }))

  it.each(Object.entries(cases))('%s', async (_, [call, field]) => {
    const { code, message } = await failureOf(call)
    expect(code).toBe('invalid-option')
    expect(message).toContain(field)
  })
})

describe('operands of op', () => {
  const cases: Readonly<Record<string, () => unknown>> = {
    'a tensor at the end': () => op.Add(x, any(one)),
    'a tensor before attributes': () => op.Gemm(x, any(one), null, { transB: 1 }),
    'a tensor in a list': () => op.Concat([x, any(one)], { axis: 0 }),
    'a typed array': () => op.Reshape(x, any(Float32Array.of(3, 1))),
  }
  it.each(Object.entries(cases))('%s needs constant(tensor)', async (_, call) => {
    expect(await failureOf(call)).toMatchObject({
      code: 'invalid-model',
      message: expect.stringContaining('constant(tensor)'),
    })
    expect(op.Add(x, constant(one)).shape).toEqual([1, 3])
  })
})

describe('an operator with several outputs as an operand of op', () => {
  it('needs the number of the output', async () => {
    const pooled = op.MaxPool(input('images', 'float32', [1, 1, 4, 4]), { kernel_shape: [2, 2] })
    expect(await failureOf(() => op.Flatten(any(pooled)))).toMatchObject({
      code: 'invalid-model',
      message: expect.stringMatching(/^Flatten: input 0 .*\[0\]$/),
    })
    expect(op.Flatten(pooled[0]).shape).toEqual([1, 9])
  })
})

describe('too little memory', () => {
  it('onnxruntime cannot allocate a tensor: microBatch is advised', async () => {
    const given = input('x', 'float32', ['N', 1])
    const w = parameter('w', one)
    const wide = op.Expand(op.Mul(given, w), [1, 2 ** 44])
    const y = op.ReduceMean(op.Tanh(wide), [1], { keepdims: 1 })
    const huge = modelOf({ name: 'huge', inputs: new Map([['x', given]]), outputs: new Map([['y', y]]) })
    const trainer = await Trainer.create(huge, { ...options, loss: mse(), trainable: 'w' })
    const points = fromArrays({
      x: { dims: [4, 1], data: new Float32Array(4) },
      targets: { dims: [4, 1], data: new Float32Array(4) },
    })
    const failure = await failureOf(() => trainer.train(points, { totalEpochs: 1 }))
    await trainer.dispose()
    expect(failure).toMatchObject({ code: 'runtime', message: expect.stringContaining('microBatch') })
  })
})
