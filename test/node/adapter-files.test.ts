import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readOnnxAdapter, readPeftFolder, writeOnnxAdapter, writePeftFolder } from '../../src/node/files/adapter.js'
import { golden, readGoldenPeft } from '../adapter/golden.js'
import { rejectedMessage } from '../thrown.js'

let folder: string
const at = (...names: string[]) => join(folder, ...names)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-ire-adapter-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

it('writes a PEFT folder, leaves other files in it, and reads it back', async () => {
  const { adapter } = readGoldenPeft('kinds')
  await mkdir(at('mine'))
  await writeFile(at('mine/notes.txt'), 'mine')
  await writePeftFolder(at('mine'), adapter, { card: '# Mine' })
  await writePeftFolder(at('mine'), adapter)
  expect((await readdir(at('mine'))).sort()).toEqual([
    'README.md',
    'adapter_config.json',
    'adapter_model.safetensors',
    'notes.txt',
  ])
  expect(await readFile(at('mine/README.md'), 'utf8')).toContain('library_name: peft')
  const read = await readPeftFolder(at('mine'))
  expect(read.adapter.layers).toEqual(adapter.layers)
})

it('writes an .onnx_adapter file and reads it back', async () => {
  const { adapter } = readGoldenPeft('linear')
  await writeOnnxAdapter(at('a.onnx_adapter'), adapter, { dtype: 'float16' })
  const { layers } = await readOnnxAdapter(at('a.onnx_adapter'))
  expect(layers.map(({ module, a, scale }) => [module, a.dtype, a.dims, scale])).toEqual([
    ['block.fc1', 'float16', [3, 32], 1],
    ['block.fc2', 'float16', [3, 12], 1],
  ])
})

it('names the file of an error', async () => {
  expect(await rejectedMessage('io', () => readPeftFolder(at('nowhere')))).toContain('nowhere')
  expect(await rejectedMessage('io', () => readOnnxAdapter(folder))).toContain('it is a folder')
  await mkdir(at('pickle'))
  await writeFile(at('pickle/adapter_config.json'), '{"peft_type":"LORA"}')
  expect(await rejectedMessage('io', () => readPeftFolder(at('pickle')))).toContain('adapter_model.safetensors')
  await writeFile(at('pickle/adapter_model.bin'), '')
  expect(await rejectedMessage('invalid-data', () => readPeftFolder(at('pickle')))).toMatch(
    /pickle.*safe_serialization/,
  )
  await writeFile(at('text.onnx_adapter'), 'text')
  expect(await rejectedMessage('damaged', () => readOnnxAdapter(at('text.onnx_adapter')))).toContain(
    'text.onnx_adapter',
  )
  expect(await rejectedMessage('invalid-data', () => readPeftFolder(join(golden, 'bias')))).toContain(
    join(golden, 'bias'),
  )
})
