import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { quantizeModel } from '../../src/adapter/index.js'
import { constant, input, modelOf, op, parameter, scalar, type Value } from '../../src/graph/index.js'
import { addUsage, decodeModel, encodeModel, namedTensors, readUsage } from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { Random } from '../../src/util/random.js'
import { golden } from '../language/models.js'
import { run } from './command.js'

const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-tune-'))
const path = (...names: string[]) => join(folder, ...names)
afterAll(() => rmSync(folder, { recursive: true }))

const random = new Random(9)
const weights = (name: string, ...dims: readonly number[]) => {
  const values = random.fill(new Float32Array(dims.reduce((a, b) => a * b)), 'normal').map((v) => v / 2)
  return parameter(name, tensorFrom('float32', dims, values))
}

/** A folder as of transformers.js, of an encoder of 8 numbers per token. */
function writeEncoder(name: string, outputs: (hidden: Value, mask: Value) => ReadonlyMap<string, Value>, config = {}) {
  const ids = input('input_ids', 'int64', ['batch', 'length'])
  const mask = input('attention_mask', 'int64', ['batch', 'length'])
  const weight = op.Unsqueeze(op.Cast(mask, { to: 1 }), [2])
  const hidden = op.Tanh(op.MatMul(op.Gather(weights('embedding', 320, 8), ids), weights('dense', 8, 8)))
  const model = modelOf({
    name: 'encoder',
    inputs: new Map([
      ['input_ids', ids],
      ['attention_mask', mask],
    ]),
    outputs: outputs(op.Mul(hidden, weight), weight),
  })
  mkdirSync(path(name, 'onnx'), { recursive: true })
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(golden, 'llama-optimum', file), path(name, file))
  writeFileSync(path(name, 'config.json'), JSON.stringify({ model_type: 'encoder', ...config }))
  writeFileSync(path(name, 'onnx', 'model.onnx'), encodeModel(model))
}

const colors = ['red', 'blue', 'green']
const reviews = Array.from({ length: 40 }, (_, i) => ({
  text: i % 2 === 0 ? `good film number ${i % 5}` : `bad plot number ${i % 7}`,
  label: i % 2 === 0 ? 'good' : 'bad',
}))
const pairs = Array.from({ length: 24 }, (_, i) => ({
  anchor: `${'abcdef'[i % 6]} is`,
  positive: `${'uvwxyz'[i % 6]} was`,
}))

beforeAll(async () => {
  const mean = (hidden: Value, weight: Value) =>
    op.Div(op.ReduceSum(hidden, [1], { keepdims: 0 }), op.ReduceSum(weight, [1], { keepdims: 0 }))
  const classify = (hidden: Value, weight: Value) =>
    new Map([['logits', op.Gemm(mean(hidden, weight), weights('classifier', 8, 3), weights('bias', 3))]])
  writeEncoder('classifier', classify, { id2label: { 0: 'a', 1: 'b', 2: 'c' } })
  writeEncoder('encoder', (hidden) => new Map([['last_hidden_state', hidden]]))
  const embed = (hidden: Value, weight: Value) =>
    new Map([
      ['token_embeddings', hidden],
      ['sentence_embedding', op.LpNormalization(mean(hidden, weight), { axis: 1, p: 2 })],
    ])
  writeEncoder('sentences', embed)
  writeEncoder('states', (hidden, weight) => new Map([['hidden_states', hidden], ...classify(hidden, weight)]))
  const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  writeFileSync(path('reviews.jsonl'), lines(reviews))
  writeFileSync(path('pairs.jsonl'), lines(pairs))
  writeFileSync(path('scored.jsonl'), lines(pairs.map((pair, i) => ({ ...pair, score: i % 2 }))))
  const x = input('x', 'float32', ['N', 3, 8, 8])
  const y = op.Gemm(op.Reshape(x, [-1, 192]), weights('w', 192, 2), weights('b', 2))
  writeFileSync(
    path('images.onnx'),
    encodeModel(modelOf({ name: 'images', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })),
  )
  for (const [c, color] of colors.entries()) {
    mkdirSync(path('images', color), { recursive: true })
    for (let i = 0; i < 8; i++) {
      const background = { r: 0, g: 0, b: 0, [['r', 'b', 'g'][c]!]: 150 + 10 * i }
      await sharp({ create: { width: 12, height: 10, channels: 3, background } })
        .png()
        .toFile(path('images', color, `${i}.png`))
    }
  }
})

describe('tune classify', () => {
  const tune = (output: string, ...more: readonly string[]) =>
    run('tune', 'classify', path('classifier'), path('reviews.jsonl'), '-o', path(output), '--quiet', ...more)

  it('plan, training, and a folder with the names of the classes; measures improve', async () => {
    const { code, stdout } = await tune('plan', '--dry-run')
    expect(code).toBe(0)
    expect(stdout).toMatch(/36 examples, 4 held out; 2 classes, with a new last layer: bad, good/)
    const trained = await tune('moods', '--lr', '0.02', '--epochs', '6', '--batch-size', '8', '--ire', '--json')
    expect(trained.code).toBe(0)
    const { before, after, step, plan, samples } = JSON.parse(trained.stdout)
    expect(step).toBe(30)
    expect(samples).toHaveLength(3)
    for (const { input, expected, before, after } of samples) {
      expect(expected).toBe(input.startsWith('good') ? 'good' : 'bad')
      expect(before).toMatch(/^(good|bad) \(\d+ %\)$/)
      expect(after.split(' ')[0]).toBe(expected)
      expect(after).not.toBe(before)
    }
    expect(plan).toMatchObject({ task: 'classify', steps: 30, heldOut: 4 })
    expect(after.loss).toBeLessThan(before.loss)
    expect(after.accuracy).toBe(1)
    expect(after.f1).toBe(1)
    const [config, bytes] = ['config.json', 'onnx/model.onnx'].map((file) => readFileSync(path('moods', 'model', file)))
    expect(readUsage(decodeModel(bytes!))).toEqual({ task: 'text-classification', classes: ['bad', 'good'] })
    expect(JSON.parse(config!.toString())).toMatchObject({
      id2label: { 0: 'bad', 1: 'good' },
      label2id: { bad: 0, good: 1 },
    })
    const lines = await run('snippet', path('moods'))
    expect([lines.code, lines.stderr]).toEqual([1, expect.stringMatching(/moods.model has a model of texts.*predict/)])
    // A folder is no model, but its models are named.
    const named = await run('predict', path('moods', 'model', 'onnx'), path('reviews.jsonl'))
    expect([named.code, named.stderr]).toEqual([
      1,
      expect.stringContaining(join('moods', 'model', 'onnx', 'model.onnx')),
    ])
    await predictMoods()
    // The result is a model of these classes, which a second run continues with its own last layer.
    const again = await run(
      'tune',
      'classify',
      path('moods', 'model'),
      path('reviews.jsonl'),
      '-o',
      path('again'),
      '--dry-run',
    )
    expect(again.stdout).toContain('2 classes of the model: bad, good')
    expect((await tune('moods')).stderr).toContain('--force')
  })

  /** Predicts with the model of the first test: for texts, for the rows of a file, and with wrong options. */
  async function predictMoods(): Promise<void> {
    const { code, stdout } = await run('predict', path('moods'), 'good film number 9', 'bad\nplot')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^good film number 9: good \d+\.\d %\nbad plot: bad \d+\.\d %\n$/)
    const rows = reviews.map(({ text, label }) => JSON.stringify({ review: text, label }))
    writeFileSync(path('rows.jsonl'), rows.join('\n'))
    const [csv, lines] = [path('moods.csv'), path('moods.jsonl')]
    const inFile = ['predict', path('moods', 'model'), path('rows.jsonl'), '--text', 'review', '-o']
    expect(await run(...inFile, csv)).toMatchObject({ code: 0 })
    expect(await run(...inFile, lines, '--batch-size', '1')).toMatchObject({ code: 0 })
    const [head, ...records] = readFileSync(csv, 'utf8').trimEnd().split('\n')
    expect(head).toBe('index,text,class,name,probability')
    expect(records).toHaveLength(reviews.length)
    for (const [i, line] of readFileSync(lines, 'utf8').trimEnd().split('\n').entries()) {
      const { text, label } = reviews[i]!
      const predicted = JSON.parse(line)
      expect(predicted).toMatchObject({ index: i, text, name: label })
      // The padding of a batch changes nothing.
      expect(Number(records[i]!.split(',').at(-1))).toBeCloseTo(predicted.probability, 5)
    }
    writeFileSync(path('more.jsonl'), JSON.stringify({ review: 'one more' }))
    const several = await run('predict', path('moods'), path('rows.jsonl'), path('more.jsonl'), '--text', 'review')
    expect(several.stdout.trimEnd().split('\n')).toHaveLength(reviews.length + 1)
    expect(several.stdout).toMatch(/^one more: (good|bad) /m)
    const other = path('images.onnx')
    const file = await run('predict', path('moods'), other)
    expect([file.code, file.stderr]).toEqual([2, expect.stringContaining(`error: ${other} is a file: `)])
    const cut = await run('predict', path('moods'), 'good film number 9', '--length', '3')
    expect(cut.stderr).toMatch(/^warning: 1 texts? .* --length$/m)
    expect(await run(...inFile, path('rows.jsonl'))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('another name'),
    })
    const wrong: readonly (readonly string[])[] = [
      [path('moods')],
      [path('moods'), ' '],
      [path('moods'), 'a text', '--text', 'review'],
      [path('moods'), 'a text', '--on', 'train'],
      [path('moods'), '--data', path('rows.jsonl')],
      [path('moods'), path('rows.jsonl'), 'a text'],
      [path('images.onnx'), path('images'), '--length', '3'],
    ]
    for (const args of wrong) expect([args, (await run('predict', ...args)).code]).toEqual([args, 2])
    const missing = await run('predict', path('moods'), path('rows.jsonl'))
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining("row 1 has no 'text'")])
  }

  it('an adapter trains few parameters and is merged', async () => {
    expect((await tune('text', '--r', '2', '--steps', '1', '--samples', '1')).stdout).toMatch(
      /^sample: .*(good|bad).*\nexpected: (good|bad)\nbefore: .*%\)\nafter: .*%\)\n/,
    )
    const tracking = ['--tensorboard', path('board'), '--measure-every', '1']
    const { code, stdout } = await tune('adapted', '--r', '2', '--steps', '2', '--samples', '0', '--json', ...tracking)
    expect(code).toBe(0)
    const events = readdirSync(path('board')).map((file) => readFileSync(path('board', file), 'latin1'))
    expect(events).toHaveLength(1)
    for (const part of ['train/loss', 'validation/accuracy', 'updateRatio/', 'tensor/', '"task": "classify"'])
      expect(events[0]).toContain(part)
    const without = await tune('untracked', '--steps', '1', '--measure-every', '1')
    expect(without).toMatchObject({ code: 2, stderr: expect.stringContaining('--tensorboard') })
    const { plan } = JSON.parse(stdout)
    expect(plan.trainable).toBeLessThan(plan.parameters / 10)
    const { proto } = decodeModel(readFileSync(path('adapted', 'model', 'onnx', 'model.onnx')))
    expect(proto.graph!.initializer.some(({ name = '' }) => name.includes('lora'))).toBe(false)
  })

  it('--adapter > the plan; (IA)^3 is trained and merged; options of another kind are refused', async () => {
    const plans = [
      ['--r', '2'],
      ['--adapter', 'dora', '--r', '1', '--targets', 'dense'],
      ['--adapter', 'none'],
      [],
    ].map(async (options) => {
      const { plan } = JSON.parse((await tune('plans', '--dry-run', '--json', ...options)).stdout)
      return [plan.adapter, plan.optimizer.split(',')[0]]
    })
    expect(await Promise.all(plans)).toEqual([
      ['LoRA r 2, alpha 4', 'AdamW lr 0.0002'],
      ['DoRA r 1, alpha 2', 'AdamW lr 0.0002'],
      ['none: all weights are trained', 'AdamW lr 0.00002'],
      ['none: all weights are trained', 'AdamW lr 0.00002'],
    ])
    const ia3 = ['--adapter', 'ia3', '--targets', 'dense', '--steps', '2', '--samples', '0', '--lr', '0.1']
    const { code, stdout } = await tune('factors', ...ia3, '--json')
    expect(code, stdout).toBe(0)
    const [before, after] = [path('classifier'), path('factors', 'model')].map((from) =>
      namedTensors(decodeModel(readFileSync(join(from, 'onnx', 'model.onnx')))),
    )
    expect([...after!.keys()].filter((name) => name.includes('ia3'))).toEqual([])
    expect(after!.get('dense')!.data).not.toEqual(before!.get('dense')!.data)
    expect(after!.get('embedding')!.data).toEqual(before!.get('embedding')!.data)
    const refused = await tune('refused', '--dry-run', '--json', '--adapter', 'none', '--r', '2')
    expect(JSON.parse(refused.stdout).error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('--r'),
    })
  })

  it('failed before the first checkpoint > the same command starts again', async () => {
    mkdirSync(path('failed', 'checkpoints'), { recursive: true })
    const few = ['--steps', '1', '--samples', '0']
    expect(await tune('failed', ...few, '--resume')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('without --resume'),
    })
    expect(await tune('failed', ...few)).toMatchObject({ code: 0 })
    // Without the results, the checkpoints alone are a run.
    rmSync(path('failed', 'model'), { recursive: true })
    expect(await tune('failed', ...few)).toMatchObject({ code: 1, stderr: expect.stringContaining('--resume') })
  })

  it('--resume with other options > refused, each by its name, before the training', async () => {
    const options = ['--samples', '0', '--validation', '0']
    expect(await tune('resumed', ...options, '--steps', '1', '--r', '2')).toMatchObject({ code: 0 })
    const resume = async (...more: readonly string[]) => {
      const { code, stdout } = await tune('resumed', ...options, '--resume', '--json', ...more)
      return code === 0 ? 'resumed' : JSON.parse(stdout).error
    }
    const other = {
      code: 'checkpoint',
      message: expect.stringMatching(/--r is not given, it was 2; --steps is 3, it was 1/),
    }
    expect(await resume('--steps', '3')).toEqual(other)
    expect(await resume('--steps', '3', '--dry-run')).toEqual(other)
    const longer = expect.stringMatching(/--epochs is 5, it was 3; --steps is not given, it was 1\./)
    expect(await resume('--epochs', '5', '--r', '2')).toMatchObject({ message: longer })
    expect(await resume('--steps', '1', '--r', '2', '--micro-batch', '2', '--threads', '1')).toBe('resumed')
  })

  it('texts beyond the context of the model > cut there', async () => {
    cpSync(path('classifier'), path('short'), { recursive: true })
    const config = JSON.parse(readFileSync(path('short/config.json'), 'utf8'))
    writeFileSync(path('short/config.json'), JSON.stringify({ ...config, max_position_embeddings: 8 }))
    const dry = ['-o', path('none'), '--dry-run', '--json']
    const { stdout } = await run('tune', 'classify', path('short'), path('reviews.jsonl'), ...dry)
    expect(JSON.parse(stdout).plan.warnings).toEqual([expect.stringMatching(/more than 8 tokens: .* reads no more/)])
  })

  it('a .csv or .tsv file > the rows of the JSON file; predict reads them, too', async () => {
    const asCsv = (delimiter: string, label: string) =>
      [['id', 'text', label], ...reviews.map(({ text, label: own }, i) => [`${i}`, `"${text}"`, own])]
        .map((record) => record.join(delimiter))
        .join('\r\n')
    writeFileSync(path('reviews.csv'), `\ufeff${asCsv(',', 'mood')}`)
    writeFileSync(path('reviews.tsv'), asCsv('\t', 'label'))
    const train = (file: string, ...more: string[]) =>
      run('tune', 'classify', path('classifier'), path(file), '-o', path('table'), '--json', '--force', ...more)
    const [json, csv, tsv] = [
      await train('reviews.jsonl', '--epochs', '1'),
      await train('reviews.csv', '--epochs', '1', '--label', 'mood'),
      await train('reviews.tsv', '--epochs', '1'),
    ].map(({ stdout }) => JSON.parse(stdout))
    expect(json.after.loss).toBeGreaterThan(0)
    expect(csv.after).toEqual(json.after)
    expect(tsv.after).toEqual(json.after)
    const predicted = await run('predict', path('table'), path('reviews.csv'), '--json')
    expect(predicted.stdout).toBe((await run('predict', path('table'), path('reviews.jsonl'), '--json')).stdout)
    expect(predicted.stdout.trimEnd().split('\n')).toHaveLength(reviews.length)
    for (const [content, message] of [
      ['text,label\ngood,a\n,b\n', "row 2 has no 'text'; it has label"],
      ['text;label\ngood;a\n', "row 1 has no 'text'; it has text;label"],
      ['text,text\ngood,a\n', "wrong.csv:1: two columns have the name 'text'"],
      ['text,label\n', 'wrong.csv has no rows'],
    ] as const) {
      writeFileSync(path('wrong.csv'), content)
      const { error } = JSON.parse((await train('wrong.csv', '--dry-run')).stdout)
      expect(error).toMatchObject({ code: 'invalid-data', message: expect.stringContaining(message) })
    }
    writeFileSync(path('null.jsonl'), '{"text":"a","label":1}\n{"text":null,"label":2}')
    const { error } = JSON.parse((await train('null.jsonl', '--dry-run')).stdout)
    expect(error.message).toContain("'text' of row 2 is null")
  })

  it('rows without the field or with one class > invalid-data with the row', async () => {
    const missing = await tune('none', '--label', 'mood', '--json')
    expect(JSON.parse(missing.stdout).error).toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining("row 1 has no 'mood'"),
    })
    writeFileSync(path('one.jsonl'), '{"text":"a","label":1}\n{"text":"b","label":1}')
    const one = await run('tune', 'classify', path('classifier'), path('one.jsonl'), '-o', path('none'), '--json')
    expect(JSON.parse(one.stdout).error.code).toBe('invalid-data')
  })

  it('a classifier that returns hidden states too > its scores are trained', async () => {
    const args = [
      'tune',
      'classify',
      path('states'),
      path('reviews.jsonl'),
      '-o',
      path('scores'),
      '--steps',
      '2',
      '--json',
    ]
    const { code, stdout } = await run(...args)
    expect(code).toBe(0)
    expect(JSON.parse(stdout).samples[0].after).toMatch(/^(good|bad) /)
  })

  it('an encoder without a classifier > invalid-model with the outputs that it has, and the way to export one', async () => {
    const args = ['tune', 'classify', path('encoder'), path('reviews.jsonl'), '--dry-run', '--json']
    expect(JSON.parse((await run(...args)).stdout).error).toMatchObject({
      code: 'invalid-model',
      message: expect.stringMatching(/'last_hidden_state' \[.*--task text-classification.*tune embed/),
    })
  })
})

describe('tune embed', () => {
  const tune = (data: string, output: string, ...more: readonly string[]) =>
    run('tune', 'embed', path('encoder'), path(data), '-o', path(output), '--quiet', '--json', ...more)

  it('pairs > the recall of held-out pairs rises, and the result has the inputs of the model', async () => {
    const { code, stdout } = await tune(
      'pairs.jsonl',
      'search',
      '--lr',
      '0.05',
      '--epochs',
      '10',
      '--batch-size',
      '6',
      '--validation',
      '0.25',
    )
    expect(code).toBe(0)
    const { before, after, plan, samples } = JSON.parse(stdout)
    expect(plan.about).toContain('against the others of the batch')
    expect(plan.warnings).toContainEqual(expect.stringContaining('24 of 24 rows have the positive of another row'))
    for (const { input, expected, after } of samples) {
      expect(expected).toBe(pairs.find(({ anchor }) => anchor === input)!.positive)
      expect(after).toMatch(new RegExp(`^${expected} \\(cosine -?[01]\\.\\d\\d\\)$`))
    }
    expect(after.loss).toBeLessThan(before.loss)
    expect(after.accuracy).toBeGreaterThanOrEqual(before.accuracy)
    const { proto } = decodeModel(readFileSync(path('search', 'model', 'onnx', 'model.onnx')))
    expect(proto.graph!.input.map(({ name }) => name)).toEqual(['input_ids', 'attention_mask'])
    const predicted = await run('predict', path('search'), 'a is')
    const { text, outputs } = JSON.parse(predicted.stdout)
    expect([text, outputs.last_hidden_state.length]).toEqual(['a is', 8])
    const written = decodeModel(readFileSync(path('search', 'model', 'onnx', 'model.onnx')))
    expect(readUsage(written)).toEqual({ task: 'feature-extraction', pooling: 'mean' })
    cpSync(path('search', 'model'), path('unpooled'), { recursive: true })
    writeFileSync(path('unpooled', 'onnx', 'model.onnx'), encodeModel(addUsage(written, {})))
    const { stdout: tokens } = await run('predict', path('unpooled'), 'a is')
    const states: readonly number[][] = JSON.parse(tokens).outputs.last_hidden_state
    const mean = states[0]!.map((_, i) => states.reduce((sum, state) => sum + state[i]!, 0) / states.length)
    expect(outputs.last_hidden_state).toEqual(mean.map((each) => expect.closeTo(each, 5)))
    const classes = await run('predict', path('search'), 'a is', '--classes')
    expect([classes.code, classes.stderr]).toEqual([2, expect.stringContaining('--classes is for scores of classes')])
  })

  it('states of tokens and an embedding of the text > pooling selects one, and both give the same recall', async () => {
    const tuned = async (pooling: string) => {
      const args = ['tune', 'embed', path('sentences'), path('pairs.jsonl'), '-o', path(`by-${pooling}`), '--json']
      const { stdout } = await run(...args, '--pooling', pooling, '--steps', '2', '--lr', '0.05')
      return JSON.parse(stdout)
    }
    const [mean, none] = [await tuned('mean'), await tuned('none')]
    expect(none.after.loss).toBeCloseTo(mean.after.loss, 4)
    expect(none.samples.map(({ after }: { after: string }) => after)).toEqual(
      mean.samples.map(({ after }: { after: string }) => after),
    )
  })

  it('scores > the similarity is trained', async () => {
    const { stdout } = await tune(
      'scored.jsonl',
      'scored',
      '--lr',
      '0.05',
      '--epochs',
      '4',
      '--batch-size',
      '6',
      '--validation',
      '0.25',
    )
    const { before, after, plan, samples } = JSON.parse(stdout)
    expect(plan.about).toContain('score')
    for (const { expected, after } of samples) {
      expect(expected).toMatch(/^[u-z] was \(score [01]\)$/)
      expect(after).toMatch(/^[u-z] was \(cosine -?[01]\.\d\d\)$/)
    }
    expect(after.loss).toBeLessThan(before.loss)
    expect(after).toHaveProperty('mae')
  })

  it('a field that some rows have > refused; negatives beside scores > a warning', async () => {
    const [pair] = pairs
    const write = (name: string, ...rows: object[]) =>
      writeFileSync(path(name), rows.map((row) => `${JSON.stringify({ ...pair, ...row })}\n`).join(''))
    for (const field of [{ negative: 'b is' }, { score: 1 }]) {
      write('uneven.jsonl', { score: null }, field)
      const { error } = JSON.parse((await tune('uneven.jsonl', 'uneven', '--dry-run')).stdout)
      const name = Object.keys(field)[0]
      expect(error.message).toContain(`row 2 has a '${name}', and row 1 has none`)
    }
    write('both.jsonl', ...Array(4).fill({ score: 1, negative: 'b is' }))
    const { plan } = JSON.parse((await tune('both.jsonl', 'both', '--dry-run', '--validation', '0')).stdout)
    expect(plan.warnings).toEqual([expect.stringContaining("without their 'negative'")])
  })

  it('LoRA of weights in 4 bits, which it cannot be merged with > refused before the training', async () => {
    const bytes = readFileSync(path('encoder', 'onnx', 'model.onnx'))
    writeFileSync(path('encoder', 'onnx', 'model_q4.onnx'), encodeModel(quantizeModel(decodeModel(bytes))))
    const options = ['--dtype', 'q4', '--targets', 'dense', '--dry-run']
    const { stdout } = await tune('pairs.jsonl', 'quantized', ...options)
    expect(JSON.parse(stdout).error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('--adapter ia3'),
    })
    const factors = await tune('pairs.jsonl', 'quantized', ...options, '--adapter', 'ia3')
    expect(JSON.parse(factors.stdout).plan).toMatchObject({ adapter: '(IA)^3', trainable: 8 })
  })

  it('--pooling that the model cannot have > refused in the plan', async () => {
    const none = JSON.parse((await tune('pairs.jsonl', 'none', '--pooling', 'none', '--dry-run')).stdout)
    expect(none.error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(/'last_hidden_state' \[.*--pooling mean or first/),
    })
    const args = ['tune', 'embed', path('classifier'), path('pairs.jsonl'), '--dry-run', '--json']
    expect(JSON.parse((await run(...args)).stdout).error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(/'logits' \[.*--pooling none/),
    })
    expect(JSON.parse((await run(...args, '--pooling', 'none')).stdout).plan.task).toBe('embed')
  })

  it('--scale for rows with a score > invalid-option', async () => {
    const { stdout } = await tune('scored.jsonl', 'none', '--scale', '5', '--dry-run')
    expect(JSON.parse(stdout).error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('--scale'),
    })
  })

  it('scores that are texts > are numbers, as in a .csv file; others are shown as they are', async () => {
    const rowsWith = (score: unknown) => pairs.map((pair) => JSON.stringify({ ...pair, score })).join('\n')
    writeFileSync(path('texts.jsonl'), rowsWith('0.5'))
    expect(JSON.parse((await tune('texts.jsonl', 'none', '--dry-run')).stdout).plan.about).toContain('score')
    for (const [score, shown] of [
      ['high', '"high"'],
      [2, '2'],
    ]) {
      writeFileSync(path('texts.jsonl'), rowsWith(score))
      const { error } = JSON.parse((await tune('texts.jsonl', 'none', '--dry-run')).stdout)
      expect(error.message).toContain(`'score' of row 1 is ${shown}; it must be a number from -1 to 1`)
    }
  })

  it('a row without a positive > invalid-data', async () => {
    const { stdout } = await tune('reviews.jsonl', 'none')
    expect(JSON.parse(stdout).error).toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining("'anchor'"),
    })
  })
})

describe('tune image', () => {
  it('a folder of images > a classifier with the names of the folders', async () => {
    const tune = (...more: readonly string[]) =>
      run('tune', 'image', path('images.onnx'), path('images'), '-o', path('colors'), '--quiet', ...more)
    expect((await tune('--dry-run')).stdout).toMatch(/22 examples, 2 held out; 3 classes.*blue, green, red/)
    const { code, stdout } = await tune('--lr', '0.01', '--epochs', '8', '--batch-size', '7', '--json')
    expect(code).toBe(0)
    const { after, before, samples } = JSON.parse(stdout)
    expect(after.loss).toBeLessThan(before.loss)
    expect(after.accuracy).toBe(1)
    expect(samples).toHaveLength(2)
    for (const { input, expected, after } of samples) {
      expect(input).toContain(join('images', expected))
      expect(after.split(' ')[0]).toBe(expected)
    }
    expect(JSON.parse(readFileSync(path('colors', 'classes.json'), 'utf8'))).toEqual(['blue', 'green', 'red'])
    // Another image of the size and the format that are not the model's.
    const photo = path('photo.jpeg')
    await sharp({ create: { width: 30, height: 20, channels: 3, background: { r: 180, g: 0, b: 0 } } }).toFile(photo)
    const predicted = await run('predict', path('colors'), photo)
    expect([predicted.code, predicted.stdout]).toEqual([0, expect.stringMatching(/photo\.jpeg: red \d+\.\d %$/m)])
    const file = path('colors', 'model.onnx')
    expect((await run('predict', file, photo)).stdout).toBe(predicted.stdout)
    expect(readUsage(decodeModel(readFileSync(file)))).toEqual({
      task: 'image-classification',
      classes: ['blue', 'green', 'red'],
      image: { size: [8, 8], fit: 'cover', layout: 'NCHW', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
    })
    expect((await run('snippet', path('colors'))).stdout).toContain('["blue","green","red"]')
    for (const [wrong, code, message] of [
      [['--std', '0,1,1'], 2, /--std.*none may be 0/],
      [['--steps', '1', '--epochs', '1'], 2, /--epochs .*--steps/],
      [['--validation', '0.001'], 1, /--validation 0.001 .*24 examples .*--validation 0 /],
      [['--adapter', 'lora'], 1, /images.onnx has no linear layers besides its head.*--targets/],
    ] as const)
      expect(await tune('--force', '--dry-run', ...wrong)).toMatchObject({
        code,
        stderr: expect.stringMatching(message),
      })
    expect((await tune('--force', '--dry-run', '--steps', '1')).stdout).toContain('training 1 step of 32')
    const both = await run('predict', path('colors'), photo, '--data', path('images'))
    expect([both.code, both.stderr]).toEqual([2, expect.stringContaining('omit --data, or the images')])
    const untuned = await run('predict', path('images.onnx'), photo)
    expect([untuned.code, untuned.stderr]).toEqual([2, expect.stringContaining('--data')])
    const folder = await run('predict', path('images'), photo)
    expect([folder.code, folder.stderr]).toEqual([1, expect.stringMatching(/^error \(io\): .*images/)])
    writeFileSync(path('images', 'red', 'scan.bmp'), 'BM')
    const { plan } = JSON.parse((await tune('--dry-run', '--force', '--json')).stdout)
    rmSync(path('images', 'red', 'scan.bmp'))
    expect(plan.warnings).toEqual([expect.stringContaining('.bmp')])
    cpSync(path('images', 'red'), path('one', 'red'), { recursive: true })
    const one = await run('tune', 'image', path('images.onnx'), path('one'), '--dry-run')
    expect([one.code, one.stderr]).toEqual([
      1,
      expect.stringMatching(/invalid-data.*one: .*'red'; a classifier needs two/),
    ])
  })

  it('a last layer with a quantized weight > the error says so, with and without an adapter', async () => {
    const x = input('x', 'float32', ['N', 3, 8, 8])
    const weight = parameter('q', { dtype: 'int8', dims: [192, 2], data: new Int8Array(384) })
    const y = op.MatMul(
      op.Reshape(x, [-1, 192]),
      op.DequantizeLinear(weight, parameter('scale', tensorFrom('float32', [], [0.1]))),
    )
    const quantized = modelOf({ name: 'quantized', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    writeFileSync(path('quantized.onnx'), encodeModel(quantized))
    for (const options of [[], ['--adapter', 'lora']]) {
      const args = ['tune', 'image', path('quantized.onnx'), path('images'), '--dry-run', ...options]
      expect((await run(...args)).stderr).toMatch(/invalid-option.*head: .*the model is quantized/)
    }
  })

  it('samples of several classes; a model that fixes the number of examples > a warning with the command', async () => {
    const x = input('x', 'float32', [1, 3, 8, 8])
    const y = op.Gemm(op.Reshape(x, [-1, 192]), weights('w', 192, 2), weights('b', 2))
    const fixed = modelOf({ name: 'fixed', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    writeFileSync(path('fixed.onnx'), encodeModel(fixed))
    const options = ['-o', path('spread'), '--quiet', '--json', '--validation', '0.5', '--steps', '1']
    const { stdout, stderr } = await run('tune', 'image', path('fixed.onnx'), path('images'), ...options)
    const { plan, samples } = JSON.parse(stdout)
    expect(samples.map(({ expected }: { expected: string }) => expected)).toEqual(['blue', 'green', 'red'])
    expect(plan.warnings).toEqual([expect.stringContaining('onnx-ire batch ')])
    expect(stderr).toContain(plan.warnings[0])
  })

  it('--mean of a model of gray images > invalid-option', async () => {
    const x = input('x', 'float32', ['N', 1, 8, 8])
    const y = op.Gemm(op.Reshape(x, [-1, 64]), weights('w', 64, 2), weights('b', 2))
    const gray = modelOf({ name: 'gray', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    writeFileSync(path('gray.onnx'), encodeModel(gray))
    const args = ['tune', 'image', path('gray.onnx'), path('images'), '--dry-run', '--json']
    expect(JSON.parse((await run(...args)).stdout).plan.task).toBe('image')
    const { stdout } = await run(...args, '--mean', '0,0,0')
    expect(JSON.parse(stdout).error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('--mean'),
    })
  })

  const scalingClassifier = (factor: number) => {
    const x = input('x', 'float32', ['N', 8, 8, 3])
    const scaled = op.Add(op.Mul(x, constant(tensorFrom('float32', [], [factor]))), scalar('float32', -1))
    const y = op.Gemm(op.Reshape(op.Transpose(scaled, { perm: [0, 3, 1, 2] }), [-1, 192]), weights('w', 192, 3))
    return { x, y }
  }

  it('a model that normalizes pixels in [0, 1] itself > these pixels', async () => {
    const { x, y } = scalingClassifier(2)
    const unit = modelOf({ name: 'unit', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    writeFileSync(path('unit.onnx'), encodeModel(unit))
    const tune = ['tune', 'image', path('unit.onnx'), path('images'), '-o', path('unit'), '--quiet', '--steps', '1']
    expect((await run(...tune, '--dry-run')).stdout).toContain('pixels from 0 to 1,')
    expect((await run(...tune)).code).toBe(0)
    const used = readUsage(decodeModel(readFileSync(path('unit', 'model.onnx'))))
    expect(used?.image).toEqual({ size: [8, 8], fit: 'cover', layout: 'NHWC' })
  })

  it('a model that scales pixels itself, with an input that no node reads > pixels from 0 to 255', async () => {
    const { x, y } = scalingClassifier(1 / 127.5)
    const inputs = new Map([
      ['x', x],
      ['mean', input('mean', 'float32', [1, 1, 1, 3])],
    ])
    const raw = modelOf({ name: 'raw', inputs, outputs: new Map([['y', y]]) })
    writeFileSync(path('raw.onnx'), encodeModel(raw))
    const tune = ['tune', 'image', path('raw.onnx'), path('images'), '-o', path('raw'), '--quiet', '--steps', '1']
    expect((await run(...tune, '--dry-run')).stdout).toContain('pixels from 0 to 255')
    expect((await run(...tune)).code).toBe(0)
    const used = readUsage(decodeModel(readFileSync(path('raw', 'model.onnx'))))
    expect(used?.image).toEqual({ size: [8, 8], fit: 'cover', layout: 'NHWC', scale: 1 })
    expect((await run('predict', path('raw'), path('images', 'red', '0.png'))).stdout).toMatch(/0\.png: \w+ /)
    await run(...tune, '--force', '--mean', '0.5,0.5,0.5')
    const given = readUsage(decodeModel(readFileSync(path('raw', 'model.onnx'))))
    expect(given?.image).toMatchObject({ mean: [0.5, 0.5, 0.5], std: [0.229, 0.224, 0.225] })
  })

  it('a model without images > invalid-model', async () => {
    const file = path('encoder', 'onnx', 'model.onnx')
    const { stdout } = await run('tune', 'image', file, path('images'), '-o', path('none'), '--json')
    expect(JSON.parse(stdout).error.code).toBe('invalid-model')
  })
})
