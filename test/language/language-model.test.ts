import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { decodeModel, encodeModel } from '../../src/index.js'
import { type LanguageDtype, readLanguageModel } from '../../src/language/index.js'
import { contextLengthOf } from '../../src/language/language-model.js'
import { modelFolder, readModel, writeModel } from '../../src/node/index.js'
import { edit } from '../../src/onnx/proto/message.js'
import { golden } from './models.js'

const temporary = mkdtempSync(join(tmpdir(), 'onnx-ire-language-'))
afterAll(() => rmSync(temporary, { recursive: true }))

let copies = 0
/** A copy of a committed folder. */
function copy(name = 'llama-optimum'): string {
  const folder = join(temporary, `${copies++}`)
  cpSync(join(golden, name), folder, { recursive: true })
  return folder
}

const read = (folder: string, dtype?: string) =>
  readLanguageModel(modelFolder(folder), { dtype: dtype as LanguageDtype | undefined })

function changeJson(path: string, change: object): void {
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }))
}

describe('readLanguageModel', () => {
  it('a folder > the file that it has, its tokenizer and template', async () => {
    const found = await read(copy())
    expect(found).toMatchObject({ file: 'onnx/model_q4f16.onnx', endTokens: [2], padToken: 0 })
    expect(found.specialTokens).toMatchObject({ eos_token: '<|im_end|>', pad_token: '<|endoftext|>' })
    expect(found.tokenizer.encode('<|im_start|>user')[0]).toBe(1)
    expect(found.chatTemplate).toContain('add_generation_prompt')
    expect((await read(copy('qwen2-genai'))).chatTemplate).toBe(found.chatTemplate)
  })

  it('config.json that names a type > that file', async () => {
    const folder = copy()
    cpSync(join(folder, 'onnx/model_q4f16.onnx'), join(folder, 'onnx/model_fp16.onnx'))
    expect((await read(folder)).file).toBe('onnx/model_fp16.onnx')
    changeJson(join(folder, 'config.json'), { 'transformers.js_config': { dtype: 'q4f16' } })
    expect((await read(folder)).file).toBe('onnx/model_q4f16.onnx')
    expect((await read(folder, 'fp16')).file).toBe('onnx/model_fp16.onnx')
  })

  it('a model at the top of the folder > is found', async () => {
    const folder = copy('qwen2-genai')
    renameSync(join(folder, 'onnx/model_q4f16.onnx'), join(folder, 'model.onnx'))
    expect((await read(folder)).file).toBe('model.onnx')
  })

  it.each([
    ['q4', /onnx\/model_q4\.onnx.*has 'q4f16'/],
    ['q8', /no gradient.*'q4f16'/],
    ['bnb4', /no gradient.*'q4f16'/],
    ['float', /'dtype'/],
  ])('dtype %s > invalid-option with the files of the folder', async (dtype, message) => {
    await expect(read(copy(), dtype)).rejects.toMatchObject({
      code: 'invalid-option',
      message: expect.stringMatching(message),
    })
  })

  it('a file whose products have no gradient > invalid-model', async () => {
    const folder = copy()
    const path = join(folder, 'onnx/model_q4f16.onnx')
    const { proto, external } = decodeModel(readFileSync(path))
    const graph = proto.graph!
    const node = graph.node.map((each) => (each.opType === 'MatMulNBits' ? edit(each, { opType: 'MatMulBnb4' }) : each))
    writeFileSync(path, encodeModel({ proto: edit(proto, { graph: edit(graph, { node }) }), external }))
    await expect(read(folder)).rejects.toMatchObject({
      code: 'invalid-model',
      message: expect.stringContaining('MatMulBnb4'),
    })
  })

  it.each(['config.json', 'tokenizer.json'])('no %s > io naming it', async (file) => {
    const folder = copy()
    rmSync(join(folder, file))
    await expect(read(folder)).rejects.toMatchObject({ code: 'io', message: expect.stringContaining(file) })
  })

  it('no model > io', async () => {
    const folder = copy()
    rmSync(join(folder, 'onnx/model_q4f16.onnx'))
    await expect(read(folder)).rejects.toMatchObject({ code: 'io' })
  })

  it('no file of external data > external-data naming it', async () => {
    const folder = copy()
    const path = join(folder, 'onnx/model_q4f16.onnx')
    await writeModel(path, await readModel(path), { externalData: true })
    expect((await read(folder)).file).toBe('onnx/model_q4f16.onnx')
    const [data] = readdirSync(join(folder, 'onnx')).filter((name) => name.endsWith('data'))
    rmSync(join(folder, 'onnx', data!))
    await expect(read(folder)).rejects.toMatchObject({ code: 'external-data', message: expect.stringContaining(data!) })
  })

  it('the decoder of a model with an encoder > invalid-model with the input that shows it', async () => {
    const folder = copy()
    const model = await readModel(join(folder, 'onnx/model_q4f16.onnx'))
    const graph = model.proto.graph!
    const info = edit(graph.input[0]!, { name: 'encoder_hidden_states' })
    const input = [...graph.input, info]
    rmSync(join(folder, 'onnx/model_q4f16.onnx'))
    await writeModel(join(folder, 'onnx/decoder_model_merged.onnx'), {
      ...model,
      proto: edit(model.proto, { graph: edit(graph, { input }) }),
    })
    await expect(read(folder)).rejects.toMatchObject({
      code: 'invalid-model',
      message: expect.stringMatching(/decoder_model_merged\.onnx.*T5 or BART.*'encoder_hidden_states'.*crossEntropy/),
    })
  })

  it('more tokens than embeddings > invalid-model', async () => {
    const folder = copy()
    changeJson(join(folder, 'config.json'), { vocab_size: 200 })
    await expect(read(folder)).rejects.toMatchObject({ code: 'invalid-model' })
  })

  it('config.json that is no JSON > invalid-data naming it', async () => {
    const folder = copy()
    writeFileSync(join(folder, 'config.json'), '{')
    await expect(read(folder)).rejects.toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining('config.json'),
    })
  })
})

describe('contextLengthOf', () => {
  it.each([
    [{}, Number.POSITIVE_INFINITY],
    [{ model_type: 'gpt2', n_positions: 1024 }, 1024],
    [{ model_type: 'bert', max_position_embeddings: 512, pad_token_id: 1 }, 512],
    [{ model_type: 'roberta', max_position_embeddings: 514, pad_token_id: 1 }, 512],
    [{ model_type: 'camembert', max_position_embeddings: 514, pad_token_id: 0 }, 513],
    [{ model_type: 'xlm-roberta', max_position_embeddings: 8194 }, 8192],
    [{ max_position_embeddings: 64, rope_scaling: { rope_type: 'yarn', factor: 4 } }, 64],
  ])('%j > %d', (config, expected) => {
    expect(contextLengthOf({ config })).toBe(expected)
  })
})
