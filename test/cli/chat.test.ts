import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeModel, encodeModel, namedTensors, replaceTensors } from '../../src/index.js'
import { numbersOf, tensorFrom } from '../../src/ir/leaf.js'
import { golden, mergeDecoder, toFloatWeights } from '../language/models.js'
import { run, runInterrupted, runWithInput } from './command.js'

const model = join(golden, 'qwen2-genai')
const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-chat-'))
const path = (name: string) => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true }))

const questions = ['Hello', 'How are you?', 'What is Paris?', 'reset my password']
const rows = Array.from({ length: 24 }, (_, i) => ({
  messages: [
    { role: 'user', content: questions[i % questions.length] },
    { role: 'assistant', content: 'I am fine.' },
  ],
}))

beforeAll(() => {
  writeFileSync(path('data.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join('\n'))
})

describe('data show', () => {
  it('examples > the learned text in marks, and counts', async () => {
    const { code, stdout } = await run('data', 'show', model, path('data.jsonl'), '--examples', '1')
    expect(code).toBe(0)
    expect(stdout).toContain('<|im_start|>assistant\n[[I am fine.<|im_end|>]]\n')
    expect(stdout).toContain('24 examples')
    const all = await run('data', 'show', model, path('data.jsonl'), '--json', '--loss', 'all')
    const report = JSON.parse(all.stdout)
    expect(report).toMatchObject({ examples: 24, cut: 0, warnings: [] })
    expect(report.counted).toBe(report.tokens - 24)
    expect(report.shown).toHaveLength(3)
  })

  it('a .csv file > the examples of the JSON file', async () => {
    writeFileSync(path('pairs.csv'), 'prompt,completion\nHello,"I am, ""fine""."\nWhat is Paris?,A city.\n')
    writeFileSync(
      path('pairs.jsonl'),
      '{"prompt":"Hello","completion":"I am, \\"fine\\"."}\n{"prompt":"What is Paris?","completion":"A city."}\n',
    )
    const [csv, json] = await Promise.all(
      ['pairs.csv', 'pairs.jsonl'].map((file) => run('data', 'show', model, path(file), '--json')),
    )
    expect(csv!.stdout).toContain('fine')
    expect(csv!.stdout).toBe(json!.stdout)
  })

  it('a line that is no JSON > invalid-data with file and line', async () => {
    writeFileSync(path('bad.jsonl'), '{"text": "a"}\n{')
    const { code, stdout } = await run('data', 'show', model, path('bad.jsonl'), '--json')
    expect(code).toBe(1)
    expect(JSON.parse(stdout).error).toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining('bad.jsonl:2'),
    })
  })
})

describe('tune chat', () => {
  const tune = (...more: readonly string[]) =>
    run('tune', 'chat', model, path('data.jsonl'), '-o', path('out'), ...more)

  it('--dry-run > the plan, and writes nothing', async () => {
    const { code, stdout } = await tune('--dry-run', '--json', '--r', '4')
    expect(code).toBe(0)
    expect(JSON.parse(stdout).plan).toMatchObject({
      data: { examples: 23, cut: 0 },
      heldOut: 1,
      steps: 9,
      batchSize: 8,
      microBatch: 8,
      layers: { q_proj: 2, k_proj: 2, v_proj: 2, o_proj: 2, gate_proj: 2, up_proj: 2, down_proj: 2 },
      // r (in + out) of every layer: 64, 48, 48, 64, 96, 96, 96
      trainable: 2 * 4 * (64 + 48 + 48 + 64 + 96 + 96 + 96),
    })
    expect(readdirSync(folder)).not.toContain('out')
    expect((await tune('--dry-run')).stdout).toMatch(/trains .* of .* parameters/)
    // Only what is written needs a folder.
    const without = (...more: readonly string[]) => run('tune', 'chat', model, path('data.jsonl'), ...more)
    expect(await without('--dry-run')).toMatchObject({ code: 0, stdout: expect.stringContaining('<output>') })
    for (const more of [[], ['--dry-run', '--resume']])
      expect(await without(...more)).toMatchObject({ code: 2, stderr: expect.stringContaining('--output') })
  })

  it('--pack > fewer rows, which are trained; with an 8-bit first moment', async () => {
    const packed = (...more: readonly string[]) =>
      run('tune', 'chat', model, path('data.jsonl'), '-o', path('packed'), '--pack', '--length', '240', ...more)
    expect((await packed('--dry-run')).stdout).toMatch(/23 examples.*, packed in \d+ rows; 1 held out/)
    const optimizer = ['--optimizer', 'adamw-8bit', '--lr', '0.01']
    const { code, stdout } = await packed('--epochs', '3', '--samples', '0', '--quiet', '--json', ...optimizer)
    expect(code).toBe(0)
    const { plan, step, before, after } = JSON.parse(stdout)
    expect(plan.data.rows).toBeLessThan(12)
    expect(plan.microBatch).toBe(4)
    expect(step).toBe(3 * Math.ceil(plan.data.rows / 8))
    expect(plan.optimizer).toBe('AdamW with an 8-bit first moment, lr 0.01, cosine, clip 1')
    expect(after.loss).toBeLessThan(before.loss - 0.1)
    const optimum = ['tune', 'chat', join(golden, 'llama-optimum'), path('data.jsonl'), '-o', path('x'), '--pack']
    expect((await run(...optimum, '--dry-run')).stdout).toMatch(/packed in \d+ rows/)
  })

  it('--form q4 > the loss before and after the weights are rounded', async () => {
    const quantized = (...more: readonly string[]) =>
      tune('--form', 'q4', '--steps', '2', '--samples', '0', '--validation', '0.2', '--quiet', ...more)
    const { code, stdout } = await quantized('--json')
    expect(code, stdout).toBe(0)
    const { after, rounded } = JSON.parse(stdout)
    expect(rounded.loss).not.toBe(after.loss)
    expect(Math.abs(rounded.loss - after.loss)).toBeLessThan(0.5 * after.loss)
    expect((await quantized('--force')).stdout).toMatch(/loss [\d.]+ beside the weights, [\d.]+ in .*model/)
    rmSync(path('out'), { recursive: true })
  })

  it('teaches the answer, and writes an adapter and a model that give it', async () => {
    const { code, stdout, stderr } = await tune(
      '--json',
      '--lr',
      '0.01',
      '--epochs',
      '16',
      '--r',
      '16',
      '--validation',
      '0.2',
    )
    expect(stderr).toContain('trains')
    expect(code).toBe(0)
    const { before, after, samples, step } = JSON.parse(stdout)
    expect(step).toBe(48)
    expect(before.loss).toBeGreaterThan(4)
    // Embeddings and the last norm, which are not trained, limit how far apart logits can be.
    expect(after.loss).toBeLessThan(before.loss - 3)
    expect(after.accuracy).toBe(1)
    expect(samples[0].before).not.toBe('I am fine.')
    expect(samples[0].after).toBe('I am fine.')
    expect(readdirSync(path('out/adapter')).toSorted()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
    ])
    expect(readdirSync(path('out/model'))).toEqual(
      expect.arrayContaining(['chat_template.jinja', 'config.json', 'tokenizer.json', 'tokenizer_config.json']),
    )
    expect(readdirSync(path('out/model/onnx'))).toEqual(['model_q4f16.onnx'])
    const config = JSON.parse(readFileSync(path('out/model/config.json'), 'utf8'))
    expect(config).toMatchObject({ hidden_size: 32, 'transformers.js_config': { dtype: 'q4f16' } })
    expect(statSync(path('out/model/onnx/model_q4f16.onnx')).size).toBeGreaterThan(
      statSync(join(model, 'onnx/model_q4f16.onnx')).size,
    )
  })

  it('chat > the written model, and the base with the written adapter, answer the same', async () => {
    const outer = await run('chat', path('out'), '--message', 'Hello')
    expect([outer.code, outer.stderr]).toEqual([1, expect.stringContaining(`name ${path('out/model')}`)])
    const fromModel = await run('chat', path('out/model'), '--message', 'Hello', '--json')
    expect(JSON.parse(fromModel.stdout)).toEqual({
      answers: [{ message: 'Hello', model: 'model', answer: 'I am fine.', ended: 'end' }],
    })
    const compared = await run(
      'chat',
      model,
      '--adapter',
      path('out/adapter'),
      '--compare',
      '--max-tokens',
      '12',
      '--message',
      'Hello',
    )
    expect(compared.stdout).toMatch(/^base: .*\ntuned: I am fine\.\n$/s)
  })

  it('an existing result > io, replaced with --force', async () => {
    expect((await tune('--steps', '1', '--quiet')).stderr).toContain('--force')
    const { code, stdout } = await tune(
      '--steps',
      '2',
      '--quiet',
      '--force',
      '--ire',
      '--samples',
      '0',
      '--validation',
      '0',
    )
    expect([code, stdout]).toEqual([0, expect.stringContaining('2 steps')])
  })

  it('interrupted, resumed with --resume > the bytes of an uninterrupted run', async () => {
    const adapter = (name: string) => readFileSync(path(`${name}/adapter/adapter_model.safetensors`))
    const options = [
      '--quiet',
      '--steps',
      '6',
      '--batch-size',
      '4',
      '--lr',
      '0.01',
      '--ire',
      '--samples',
      '0',
      '--validation',
      '0',
      '--json',
    ]
    const into = (name: string, ...more: string[]) => [
      'tune',
      'chat',
      model,
      path('data.jsonl'),
      '-o',
      path(name),
      ...options,
      ...more,
    ]
    await run(...into('whole'))
    const stopped = await runInterrupted(
      into('parts').filter((option) => option !== '--quiet'),
      /step 1\//,
    )
    expect(stopped.code).toBe(130)
    const { step, interrupted } = JSON.parse(stopped.stdout)
    expect(interrupted).toBe(true)
    expect(step).toBe(1)
    expect(readdirSync(path('parts')).toSorted()).toEqual(['adapter', 'checkpoints'])
    expect(adapter('parts')).not.toEqual(adapter('whole'))
    expect((await run(...into('parts'))).stdout).toContain('--resume')
    const other = await run(...into('parts', '--resume', '--seed', '7'))
    expect(JSON.parse(other.stdout).error.code).toBe('checkpoint')
    const resumed = await run(...into('parts', '--resume'))
    expect(JSON.parse(resumed.stdout)).toMatchObject({ step: 6, interrupted: false })
    expect(adapter('parts')).toEqual(adapter('whole'))
    expect(readdirSync(path('parts')).toSorted()).toEqual(['adapter', 'checkpoints', 'model'])
    expect((await run(...into('none', '--resume'))).stdout).toContain('no checkpoint')
  })

  it('--adapter > training continues from it, and options of a new adapter are refused', async () => {
    const continued = [
      'tune',
      'chat',
      model,
      path('data.jsonl'),
      '-o',
      path('again'),
      '--adapter',
      path('whole/adapter'),
    ]
    const few = ['--steps', '1', '--samples', '0', '--json', '--quiet', '--validation', '0.2']
    const { before } = JSON.parse((await run(...continued, ...few)).stdout)
    const tracking = ['--tensorboard', path('board'), '--measure-every', '1']
    const whole = await run('tune', 'chat', model, path('data.jsonl'), '-o', path('new'), ...few, ...tracking)
    const [events] = readdirSync(path('board')).map((file) => readFileSync(join(path('board'), file), 'latin1'))
    for (const part of ['train/loss', 'validation/loss', 'updateRatio/', '"method": "sft"'])
      expect(events).toContain(part)
    expect(before.loss).toBeLessThan(JSON.parse(whole.stdout).before.loss - 0.1)
    const refused = await run(...continued, '--r', '4', '--json')
    expect(JSON.parse(refused.stdout).error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('--r'),
    })
  })

  it('a merged decoder > is taught, and answers with its adapter', async () => {
    const other = path('merged')
    cpSync(join(golden, 'llama-optimum'), other, { recursive: true })
    const file = join(other, 'onnx/model_q4f16.onnx')
    writeFileSync(file, encodeModel(mergeDecoder(decodeModel(readFileSync(file)))))
    const few = ['--steps', '2', '--samples', '0', '--quiet', '--json']
    const tuned = await run('tune', 'chat', other, path('data.jsonl'), '-o', path('of-merged'), ...few)
    expect(JSON.parse(tuned.stdout)).toMatchObject({ step: 2 })
    const asked = ['--message', 'Hello', '--max-tokens', '3']
    for (const from of [[other, '--adapter', path('of-merged/adapter')], [path('of-merged/model')]]) {
      const { code, stdout } = await run('chat', ...from, ...asked)
      expect([code, stdout.length > 0]).toEqual([0, true])
    }
  })

  it('data without answers > invalid-data before anything is written', async () => {
    writeFileSync(path('user.jsonl'), '{"messages": [{"role": "user", "content": "a"}]}\n')
    const { code, stderr } = await run('tune', 'chat', model, path('user.jsonl'), '-o', path('none'))
    expect([code, stderr]).toEqual([1, expect.stringContaining('invalid-data')])
    expect(readdirSync(folder)).not.toContain('none')
  })
})

describe('tune chat > rows that are too long', () => {
  const optimum = join(golden, 'llama-optimum')
  const tune = (output: string, ...more: readonly string[]) =>
    run('tune', 'chat', optimum, path('long.jsonl'), '-o', path(output), '--quiet', '--json', '--steps', '1', ...more)
  beforeAll(() => {
    const [user, answer] = rows[0]!.messages
    const long = { messages: [{ ...user, content: 'Hello '.repeat(200) }, answer] }
    writeFileSync(path('long.jsonl'), [long, ...rows.slice(0, 3)].map((row) => JSON.stringify(row)).join('\n'))
  })

  it('as a prompt > the reason in place of an answer', async () => {
    const { code, stdout } = await tune('long', '--validation', '0', '--samples', '4', '--adapter', 'ia3')
    expect(code).toBe(0)
    const { samples } = JSON.parse(stdout)
    expect(samples).toHaveLength(4)
    expect(samples[0].before).toMatch(/none: .* 256,/)
  })

  it('as the only one that is held out > a warning', async () => {
    // With this seed the first row is held out.
    const { code, stdout } = await tune('apart', '--validation', '0.25', '--seed', '2', '--dry-run')
    expect(code).toBe(0)
    expect(JSON.parse(stdout).plan).toMatchObject({
      heldOut: 1,
      warnings: [expect.stringContaining('nothing is measured')],
    })
  })
})

describe('tune chat > kinds of adapters', () => {
  const tune = (from: string, output: string, ...more: readonly string[]) =>
    run('tune', 'chat', from, path('data.jsonl'), '-o', path(output), '--quiet', '--json', '--samples', '0', ...more)
  const plan = async (...options: readonly string[]) =>
    JSON.parse((await tune(model, 'planned', '--dry-run', ...options)).stdout).plan
  const float = path('float')
  beforeAll(() => {
    cpSync(join(golden, 'llama-optimum'), float, { recursive: true })
    const bytes = readFileSync(join(float, 'onnx/model_q4f16.onnx'))
    writeFileSync(join(float, 'onnx/model_fp16.onnx'), encodeModel(toFloatWeights(decodeModel(bytes))))
  })

  // Two layers; in + out of q_proj is 64, of k_proj and v_proj 48, of o_proj 64, of the others 96.
  it.each([
    ['dora', '--adapter dora --r 2 --targets o_proj,down_proj', 'DoRA r 2, alpha 4', 2 * (2 * 160 + 64)],
    ['ia3', '--adapter ia3', '(IA)^3', 2 * (16 + 16 + 64)],
    ['ia3 of outputs', '--adapter ia3 --targets q_proj,down_proj --feedforward down_proj', '(IA)^3', 2 * (32 + 64)],
    ['pissa', '--init pissa --rs-lora --alpha 3 --r 2 --targets q_proj', 'LoRA r 2, alpha 3, rsLoRA, PiSSA', 2 * 128],
    ['exclude', '--targets q_proj,o_proj,up_proj --exclude *.mlp.* --r 1', 'LoRA r 1, alpha 2', 2 * (64 + 64)],
    ['dropout', '--dropout 0.1 --targets gate_proj', 'LoRA r 16, alpha 32, dropout 0.1', 2 * 16 * 96],
  ])('%s > the plan', async (_, options, adapter, trainable) => {
    expect(await plan(...options.split(' '))).toMatchObject({ adapter, trainable })
  })

  it('ia3 > is trained with its own rate, and written as PEFT does', async () => {
    const { code, stdout } = await tune(model, 'factors', '--adapter', 'ia3', '--steps', '2', '--form', 'merged')
    expect(code, stdout).toBe(0)
    expect(JSON.parse(stdout).plan.optimizer).toContain('lr 0.002,')
    // Factors are part of the scales.
    const [merged, base] = [path('factors/model'), model].map((from) => join(from, 'onnx/model_q4f16.onnx'))
    expect(statSync(merged!).size).toBe(statSync(base!).size)
    expect(readFileSync(merged!)).not.toEqual(readFileSync(base!))
    const config = JSON.parse(readFileSync(path('factors/adapter/adapter_config.json'), 'utf8'))
    expect(config).toMatchObject({ peft_type: 'IA3', task_type: 'CAUSAL_LM' })
    expect(config.feedforward_modules.map((module: string) => module.split('.').at(-1))).toEqual([
      'down_proj',
      'down_proj',
    ])
  })

  it.each([
    ['dora', '--adapter dora', { use_dora: true, r: 2 }],
    // What was trained and, negated, the initial values.
    ['pissa', '--init pissa', { use_dora: false, r: 4 }],
  ])(
    '%s > is trained and written',
    async (name, option, expected) => {
      const options = [...option.split(' '), '--r', '2', '--targets', 'o_proj', '--steps', '1']
      const { code, stdout } = await tune(model, name, ...options)
      expect(code, stdout).toBe(0)
      const config = JSON.parse(readFileSync(path(`${name}/adapter/adapter_config.json`), 'utf8'))
      expect(config).toMatchObject({ peft_type: 'LORA', target_modules: ['o_proj'], ...expected })
    },
    60_000,
  )

  it('--save-modules > the module is trained as a whole', async () => {
    const options = ['--dtype', 'fp16', '--r', '1', '--targets', 'o_proj', '--save-modules', 'lm_head', '--steps', '1']
    const { code, stdout } = await tune(float, 'whole-head', ...options)
    expect(code, stdout).toBe(0)
    expect(JSON.parse(stdout).plan).toMatchObject({ layers: { o_proj: 1 }, saved: ['lm_head'] })
    const config = JSON.parse(readFileSync(path('whole-head/adapter/adapter_config.json'), 'utf8'))
    expect(config.modules_to_save).toEqual(['lm_head'])
  })

  it('none > all weights are trained, and only the model is written', async () => {
    const { code, stdout } = await tune(float, 'full', '--dtype', 'fp16', '--adapter', 'none', '--steps', '1')
    expect(code, stdout).toBe(0)
    const { outputs, layers, trainable, parameters, optimizer } = JSON.parse(stdout).plan
    expect({ outputs, layers }).toEqual({ outputs: [path('full/model')], layers: {} })
    expect(trainable).toBeGreaterThan(parameters)
    expect(optimizer).toContain('lr 0.00002,')
    expect(readdirSync(path('full')).toSorted()).toEqual(['checkpoints', 'model'])
    const [before, after] = [float, path('full/model')].map((from) =>
      namedTensors(decodeModel(readFileSync(join(from, 'onnx/model_fp16.onnx')))),
    )
    expect([...after!.keys()]).toEqual([...before!.keys()])
    const changed = [...after!].filter(([name, { data }]) => {
      const old = before!.get(name)!.data
      return data.some((value, i) => value !== old[i])
    })
    // The embedding, seven products and the output layer; norms of 1 in float16 change only by larger steps.
    expect(changed.length).toBeGreaterThanOrEqual(9)
  })

  it('none, for an output layer that is a copy of the embedding > one tensor is trained and written', async () => {
    const tied = path('tied')
    cpSync(float, tied, { recursive: true })
    const file = join(tied, 'onnx/model_fp16.onnx')
    const model = decodeModel(readFileSync(file))
    const tensors = namedTensors(model)
    const table = 'model.embed_tokens.weight'
    const embedding = tensors.get(table)!
    const [words, width] = embedding.dims as [number, number]
    const numbers = numbersOf(embedding)
    const transposed = numbers.map((_, i) => numbers[(i % words) * width + Math.floor(i / words)]!)
    const copy = tensorFrom(embedding.dtype, [width, words], transposed)
    const [head] = [...tensors].find(([, { dims }]) => `${dims}` === `${copy.dims}`)!
    writeFileSync(file, encodeModel(replaceTensors(model, new Map([[head, copy]]))))
    const { code, stdout } = await tune(tied, 'tied-full', '--dtype', 'fp16', '--adapter', 'none', '--steps', '1')
    expect(code, stdout).toBe(0)
    expect(JSON.parse(stdout).plan.adapter).toContain('are one tensor')
    const written = namedTensors(decodeModel(readFileSync(path('tied-full/model/onnx/model_fp16.onnx'))))
    expect([...written.keys()]).toEqual([...tensors.keys()].filter((name) => name !== head))
    expect(written.get(table)!.data).not.toEqual(embedding.data)
  })

  it.each([
    ['the rank of ia3', '--adapter ia3 --r 4', '--r'],
    ['factors of lora', '--feedforward down_proj', '--feedforward'],
    ['layers without an adapter', '--adapter none --targets q_proj', '--targets'],
    ['all weights in 4 bits', '--adapter none', '--dtype'],
    ['whole modules in 4 bits', '--save-modules lm_head', 'lm_head'],
    ['LoRA merged with 4 bits', '--form merged', '--adapter ia3'],
    ['a kind that does not exist', '--adapter lroa', 'lora, dora, ia3, none'],
    ['--any-base of a new adapter', '--any-base', '--any-base'],
  ])('%s > refused', async (_, options, text) => {
    const { stdout } = await tune(model, 'refused', '--dry-run', ...options.split(' '))
    expect(JSON.parse(stdout).error).toMatchObject({ code: 'invalid-option', message: expect.stringContaining(text) })
  })
})

describe('tune chat > teacher', () => {
  const tune = (output: string, ...more: readonly string[]) =>
    run('tune', 'chat', model, path('data.jsonl'), '-o', path(output), '--quiet', '--json', '--samples', '0', ...more)

  it('a teacher with other answers > the loss of the teacher falls', async () => {
    const few = ['--lr', '0.01', '--validation', '0.2', '--batch-size', '4']
    await tune('teacher', '--steps', '12', ...few)
    const teacher = path('teacher/model')
    const imitated = ['--teacher', teacher, '--teacher-weight', '0.99', '--temperature', '1']
    const { stdout } = await tune('pupil', '--steps', '8', ...few, ...imitated)
    const { plan, before, after } = JSON.parse(stdout)
    expect(plan.teacher).toBe(teacher)
    expect(after.loss).toBeLessThan(0.7 * before.loss)
  })

  it('a teacher of another architecture, which reads an input that the model ignores > trains', async () => {
    const { code, stdout } = await tune('other-teacher', '--teacher', join(golden, 'llama-optimum'), '--steps', '1')
    expect(code, stdout).toBe(0)
  })

  it('a teacher that reads fewer tokens than the texts have > invalid-option', async () => {
    cpSync(model, path('short'), { recursive: true })
    const config = JSON.parse(readFileSync(path('short/config.json'), 'utf8'))
    writeFileSync(path('short/config.json'), JSON.stringify({ ...config, max_position_embeddings: 32 }))
    const imitate = async (...options: string[]) =>
      JSON.parse((await tune('refused', '--teacher', path('short'), '--dry-run', ...options)).stdout)
    expect((await imitate()).error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(/'length' is 256; .* 32, .* teacher reads: row \d+ has/),
    })
    expect(await imitate('--length', '32', '--loss', 'all')).toMatchObject({ plan: { teacher: path('short') } })
  })

  it('a teacher with another tokenizer, or of preferences; its options alone > refused', async () => {
    const refused = async (...options: string[]) => JSON.parse((await tune('refused', ...options)).stdout).error
    cpSync(model, path('swapped'), { recursive: true })
    const file = path('swapped/tokenizer.json')
    const tokenizer = JSON.parse(readFileSync(file, 'utf8'))
    const { vocab } = tokenizer.model
    Object.assign(vocab, { I: vocab.a, a: vocab.I })
    writeFileSync(file, JSON.stringify(tokenizer))
    expect(await refused('--teacher', path('swapped'))).toMatchObject({
      code: 'invalid-model',
      message: expect.stringContaining('tokenizer'),
    })
    expect(await refused('--temperature', '3')).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('--teacher'),
    })
    expect(await refused('--method', 'orpo', '--teacher', model)).toMatchObject({ code: 'invalid-data' })
  })
})

describe('tune chat > preferences', () => {
  const pairs = Array.from({ length: 16 }, (_, i) => ({
    prompt: [{ role: 'user', content: questions[i % questions.length] }],
    chosen: [{ role: 'assistant', content: 'I am fine.' }],
    rejected: [{ role: 'assistant', content: i % 2 ? 'Paris.' : 'No, you are not, and so is Paris.' }],
  }))
  const write = (name: string, of: readonly object[]) =>
    writeFileSync(path(name), of.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const tune = (data: string, output: string, ...more: readonly string[]) =>
    run('tune', 'chat', model, path(data), '-o', path(output), '--quiet', '--json', ...more)
  beforeAll(() => {
    write('pairs.jsonl', pairs)
    write('mixed.jsonl', [...pairs, ...rows])
  })

  it.each(['dpo', 'orpo'] as const)(
    '%s > held-out pairs are told apart',
    async (method) => {
      const { code, stdout } = await tune(
        'pairs.jsonl',
        method,
        // The data choose dpo.
        ...(method === 'dpo' ? [] : ['--method', method]),
        ...['--validation', '0.25', '--steps', '16', '--batch-size', '4', '--lr', '0.005', '--samples', '1'],
      )
      expect(code).toBe(0)
      const { plan, before, after, samples } = JSON.parse(stdout)
      expect(plan).toMatchObject({ method, heldOut: 4, data: { examples: 12 } })
      expect(plan.memory.needed).toBeGreaterThan(0)
      expect(before.accuracy).toBeLessThan(0.9)
      expect(after.accuracy).toBe(1)
      expect(after.margin).toBeGreaterThan(before.margin + 0.1)
      expect(samples).toHaveLength(1)
      expect(readdirSync(path(`${method}/adapter`))).toContain('adapter_model.safetensors')
      expect(readdirSync(path(`${method}/model/onnx`))).toEqual(['model_q4f16.onnx'])
    },
    60_000,
  )

  it.each([
    ['rows with and without a rejected answer', 'mixed.jsonl', [], 'invalid-data', '--method sft'],
    ['dpo without rejected answers', 'data.jsonl', ['--method', 'dpo'], 'invalid-data', 'rejected'],
    ['--beta of sft', 'data.jsonl', ['--beta', '0.2'], 'invalid-option', '--beta'],
    ['--loss all of dpo', 'pairs.jsonl', ['--loss', 'all'], 'invalid-option', '--loss'],
    ['--pack of dpo', 'pairs.jsonl', ['--pack'], 'invalid-option', '--pack'],
  ])('%s > %s', async (_, data, options, code, text) => {
    const { error } = JSON.parse((await tune(data, 'refused', ...options)).stdout)
    expect(error).toMatchObject({ code, message: expect.stringContaining(text) })
  })

  it('data show > both answers of a pair', async () => {
    const { stdout } = await run('data', 'show', model, path('pairs.jsonl'), '--examples', '1')
    expect(stdout).toMatch(
      /^row 1, chosen: .*[[]{2}I am fine\.<\|im_end\|>]].*^row 1, rejected: .*[[]{2}No, you are not/ms,
    )
    expect(stdout).toContain('16 pairs')
    const sft = await run('data', 'show', model, path('mixed.jsonl'), '--method', 'sft', '--json')
    expect(JSON.parse(sft.stdout)).toMatchObject({ method: 'sft', examples: 40 })
  })

  it('messages beside pairs, as in UltraFeedback > dpo, with the prompts of the pairs', async () => {
    write(
      'ultra.jsonl',
      pairs.map((row) => ({ ...row, prompt: row.prompt[0]!.content, messages: row.prompt })),
    )
    const { stdout } = await run('data', 'show', model, path('ultra.jsonl'), '--json')
    expect(JSON.parse(stdout)).toMatchObject({ method: 'dpo', examples: 16 })
    const options = ['--steps', '1', '--batch-size', '1', '--validation', '0', '--samples', '1', '--adapter', 'ia3']
    const tuned = await tune('ultra.jsonl', 'ultra', ...options)
    expect(JSON.parse(tuned.stdout).samples).toMatchObject([{ prompt: questions[0] }])
  }, 60_000)

  it('--method sft over mixed rows > learns the chosen answers', async () => {
    const { plan } = JSON.parse((await tune('mixed.jsonl', 'sft', '--method', 'sft', '--dry-run')).stdout)
    expect(plan).toMatchObject({ method: 'sft', warnings: [expect.stringContaining('rejected')] })
  })
})

describe('chat', () => {
  it('lines of input > an answer to each; /new begins another conversation', async () => {
    const { code, stdout } = await runWithInput('Hello\n/new\nHello\n', 'chat', model, '--max-tokens', '5', '--json')
    expect(code).toBe(0)
    const { answers } = JSON.parse(stdout)
    expect(answers.map((each: { message: string }) => each.message)).toEqual(['Hello', 'Hello'])
    expect(answers[1].answer).toBe(answers[0].answer)
  })

  it('a message that fills the context > has no answer but the reason, and the conversation goes on', async () => {
    const input = `Hello\n${'Hello '.repeat(200)}\nHello\n`
    const talk = (...more: readonly string[]) => runWithInput(input, 'chat', model, '--max-tokens', '5', ...more)
    const { code, stdout, stderr } = await talk('--json')
    expect(code).toBe(1)
    const { answers, error } = JSON.parse(stdout)
    expect(error).toEqual({ code: 'invalid-data', message: expect.stringMatching(/at most 256, .* included/) })
    const answered = { model: 'model', message: 'Hello', answer: expect.any(String), ended: 'length' }
    const refused = { model: 'model', message: expect.any(String), answer: null, error }
    expect(answers).toEqual([answered, refused, answered])
    expect(stderr).toMatch(/^no answer \(invalid-data\): .*; \/new begins another conversation\n$/)
    const text = await talk()
    expect(text.code).toBe(1)
    expect(text.stdout).toBe(answers.map((each: { answer: string | null }) => `${each.answer ?? ''}\n`).join(''))
    // Answers of five tokens are cut.
    const cut = 'the answer was cut after 5 tokens; raise --max-tokens for longer ones\n'
    expect(text.stderr).toBe(`${cut}${stderr}${cut}`)
  })

  it('--compare without an adapter > wrong usage', async () => {
    expect((await run('chat', model, '--compare')).code).toBe(2)
  })
})
