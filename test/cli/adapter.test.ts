import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { adapterOf, checksumBase, lora } from '../../src/adapter/index.js'
import { exportGraph, input, op, parameter } from '../../src/graph/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import { tensor } from '../../src/ir/tensor.js'
import { readModel, readOnnxAdapter, readPeftFolder, writeModel } from '../../src/node/index.js'
import type { Model } from '../../src/onnx/model.js'
import { create } from '../../src/onnx/proto/message.js'
import { Random } from '../../src/util/random.js'
import { golden, goldenTensors } from '../adapter/golden.js'
import { runModel } from '../adapter/run.js'
import { info, modelBytes, node } from '../onnx/build.js'
import { json, run } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
const at = (name: string) => space.path(name)
const of = (name: string) => join(golden, name)
const tensors = goldenTensors()
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

const outputs = async (path: string) =>
  numbersOf((await runModel(await readModel(path), { input_ids: tensors['tokens']! }))['y']!)
const near = (found: readonly number[], name: string) => {
  const expected = numbersOf(tensors[name]!)
  expect(found).toHaveLength(expected.length)
  for (const [i, value] of found.entries()) expect(value).toBeCloseTo(expected[i]!, 4)
}

describe('adapter inspect', () => {
  it('prints layers and settings', async () => {
    const found = await json<{ layers: object[] }>('adapter', 'inspect', of('kinds'))
    expect(found).toMatchObject({
      format: 'peft',
      parameters: 88 + 51 + 39 + 63,
      config: { r: 3, alpha: 6 },
      warnings: [],
    })
    expect(found.layers[0]).toEqual({
      module: 'block.fc1',
      kind: 'linear',
      rank: 2,
      in: [32],
      out: 12,
      scale: 3,
      dtype: 'float32',
      parameters: 88,
      dora: false,
    })
    const { stdout } = await run('adapter', 'inspect', of('dora'))
    expect(stdout).toMatch(/block\.fc1 +linear +32 +12 +3 +2 +float32/)
    expect(stdout).toContain('DoRA')
    expect(await json('adapter', 'inspect', of('olive-float16.onnx_adapter'))).toMatchObject({ format: 'onnx-adapter' })
  })

  it('checks that the adapter fits a model', async () => {
    const { stdout } = await run('adapter', 'inspect', of('llama'), '--base', of('llama.onnx'))
    expect(stdout).toContain(`It fits ${of('llama.onnx')}.`)
    const other = await run('adapter', 'inspect', of('llama'), '--base', of('mixed.onnx'))
    expect(other.code).toBe(1)
    expect(other.stderr).toMatch(/error \(invalid-data\): .*llama.*no module 'model\.layers\.0/)
  })

  it('explains what cannot be read', async () => {
    const failure = async (path: string) => {
      const { code, stdout } = await run('adapter', 'inspect', path, '--json')
      expect(code).toBe(1)
      return JSON.parse(stdout).error as { code: string; message: string }
    }
    expect(await failure(of('llama/adapter_model.safetensors'))).toMatchObject({ code: 'io' })
    expect(await failure(of('llama.safetensors'))).toMatchObject({ code: 'io' })
    expect(await failure(of('outputs.bin'))).toMatchObject({ code: 'io' })
    expect(await failure(of('bias'))).toMatchObject({ code: 'invalid-data' })
    expect(await failure(of('mixed.onnx'))).toMatchObject({ code: 'invalid-option' })
    await writeFile(at('cut.onnx_adapter'), (await readFile(of('olive-float32.onnx_adapter'))).subarray(0, 500))
    expect(await failure(at('cut.onnx_adapter'))).toMatchObject({ code: 'damaged' })
  })
})

describe('adapter convert', () => {
  it('converts between the formats, with the type and the name of the base', async () => {
    await json('adapter', 'convert', of('llama'), '-o', at('a.onnx_adapter'), '--dtype', 'float16')
    expect((await readOnnxAdapter(at('a.onnx_adapter'))).layers[0]).toMatchObject({ a: { dtype: 'float16' } })
    await json('adapter', 'convert', at('a.onnx_adapter'), '-o', at('peft'), '--base-model', 'me/base')
    const { adapter } = await readPeftFolder(at('peft'))
    expect(adapter.config).toMatchObject({ r: 4, alpha: 4, baseModel: 'me/base' })
    expect((await readdir(at('peft'))).sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
    ])
  })

  it('overwrites neither what it reads nor anything but a file', async () => {
    await mkdir(at('own'))
    for (const name of ['adapter_config.json', 'adapter_model.safetensors'])
      await copyFile(of(`llama/${name}`), at(`own/${name}`))
    const before = await readFile(at('own/adapter_model.safetensors'))
    expect(await run('adapter', 'convert', at('own'), '-o', at('own'))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('would be overwritten'),
    })
    expect(await readFile(at('own/adapter_model.safetensors'))).toEqual(before)
    expect((await run('adapter', 'convert', at('own'), '--to', 'onnx-adapter', '-o', at('own'))).stderr).toContain(
      '(io)',
    )
    expect((await run('adapter', 'convert', at('own'), '-o', at('images'))).stderr).toContain('(io)')
  })

  it('refuses options of the other format', async () => {
    for (const more of [
      ['--dtype', 'float16', '-o', at('p')],
      ['--base-model', 'x', '-o', at('p.onnx_adapter')],
    ])
      expect(await run('adapter', 'convert', of('llama'), ...more)).toMatchObject({ code: 2 })
  })
})

describe('adapter apply, merge and base', () => {
  it('write models with the outputs of the adapter', async () => {
    await json('adapter', 'apply', of('llama.onnx'), of('llama'), '-o', at('beside.onnx'))
    near(await outputs(at('beside.onnx')), 'llama')
    await json('adapter', 'merge', of('llama.onnx'), of('olive-float32.onnx_adapter'), '-o', at('merged.onnx'))
    near(await outputs(at('merged.onnx')), 'llama')
    await json('adapter', 'merge', at('beside.onnx'), '-o', at('merged2.onnx'))
    expect(await outputs(at('merged2.onnx'))).toEqual(await outputs(at('merged.onnx')))
    expect(await json('adapter', 'merge', at('beside.onnx'), '--bits', '8', '-o', at('q8.onnx'))).toMatchObject({
      bits: 8,
    })
    expect(
      (await readModel(at('q8.onnx'))).proto.graph!.node.filter(({ opType }) => opType === 'MatMulNBits'),
    ).toHaveLength(15)
    // A quantized base is not merged silently.
    const refused = await run('adapter', 'merge', at('q8.onnx'), of('llama'), '-o', at('no.onnx'))
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('(invalid-option)') })
    const { inputs } = await json<{ inputs: string[] }>('adapter', 'base', at('beside.onnx'), '-o', at('base.onnx'))
    expect(inputs).toHaveLength(28)
    near(await outputs(at('base.onnx')), 'llama-base')
    expect((await run('adapter', 'merge', of('llama.onnx'), '-o', at('no.onnx'))).stderr).toContain('has no adapter')
    expect((await run('adapter', 'apply', at('beside.onnx'), of('llama'), '-o', at('beside.onnx'))).stderr).toContain(
      'would be overwritten',
    )
  })

  it('compare the checksum of the base', async () => {
    await writeModel(at('other.onnx'), await readModel(at('q8.onnx')))
    await json('adapter', 'convert', at('beside.onnx'), '-o', at('own-base'))
    const { config } = (await readPeftFolder(at('own-base'))).adapter
    expect(config.baseChecksum).toBe(checksumBase(await readModel(of('llama.onnx'))))
    await json('adapter', 'apply', of('llama.onnx'), at('own-base'), '-o', at('same.onnx'))
    const refused = await run('adapter', 'apply', at('other.onnx'), at('own-base'), '-o', at('no.onnx'), '--json')
    expect(JSON.parse(refused.stdout).error).toMatchObject({
      code: 'invalid-data',
      message: expect.stringContaining('--any-base'),
    })
    await json('adapter', 'apply', at('other.onnx'), at('own-base'), '--any-base', '-o', at('any.onnx'))
    const inspected = await json('adapter', 'inspect', at('own-base'), '--base', at('other.onnx'))
    expect(inspected).toMatchObject({ base: { isOwnBase: false } })
  })
})

/** Two dense layers on 8x8 images, as products without a bias. */
function digits(): Model {
  const random = new Random(1)
  const weight = (name: string, ...dims: [number, number]) =>
    parameter(
      name,
      tensor(
        'float32',
        dims,
        random.fill(new Float32Array(dims[0] * dims[1]), 'normal').map((x) => x / 8),
      ),
    )
  const x = input('x', 'float32', ['N', 1, 8, 8])
  const hidden = op.Relu(op.MatMul(op.Flatten(x), weight('hidden.weight', 64, 16)))
  const y = op.Softmax(op.MatMul(hidden, weight('head.weight', 16, 10)))
  const proto = exportGraph({ name: 'digits', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
  return { proto, external: null }
}

describe('export --as', () => {
  beforeAll(async () => {
    await writeModel(at('lora.onnx'), lora(digits(), { r: 2, targets: '*' }))
    await space.writeRecipe('lora.json', { model: 'lora.onnx', epochs: 1 })
    expect(await run('train', at('lora.json'), '--out', at('run'), '--quiet')).toMatchObject({ code: 0 })
  })
  const exportAs = (form: string, output: string) =>
    json<{ measured?: object }>('export', at('run'), '--as', form, '-o', at(output))

  it('writes every form of a run that trained an adapter', async () => {
    await exportAs('beside', 'beside-run.onnx')
    const trained = adapterOf(await readModel(at('beside-run.onnx')))
    expect(numbersOf(trained.layers[0]!.b).some((value) => value !== 0)).toBe(true)
    await exportAs('peft', 'e-peft')
    expect((await readPeftFolder(at('e-peft'))).adapter.layers).toEqual(trained.layers)
    await exportAs('onnx-adapter', 'e.onnx_adapter')
    expect((await readOnnxAdapter(at('e.onnx_adapter'))).layers.map(({ module }) => module)).toEqual(
      trained.layers.map(({ module }) => module),
    )
    await exportAs('merged', 'e-merged.onnx')
    const merged = await readModel(at('e-merged.onnx'))
    expect(merged.proto.graph!.node).toHaveLength(digits().proto.graph!.node.length)
    const { measured } = await exportAs('q8', 'e-q8.onnx')
    const { before, after } = measured as { before: number; after: number }
    expect(after).not.toBe(before)
    expect(after).toBeCloseTo(before, 1)
    const { stdout } = await run('export', at('run'), '--as', 'q4', '-o', at('e-q4.onnx'))
    expect(stdout).toMatch(/form q4: loss [\d.]+ before, [\d.]+ after/)
  })

  it('--for webgpu > writes the model in operators that WebGPU has, alone or with the adapter merged', async () => {
    const exportFor = (...args: string[]) =>
      run('export', at('run'), '--for', 'webgpu', '-o', at('e-gpu.onnx'), ...args)
    const products = async (...args: string[]) => {
      expect(await exportFor(...args)).toMatchObject({ code: 0 })
      const { node } = (await readModel(at('e-gpu.onnx'))).proto.graph!
      return node.filter(({ opType }) => opType === 'MatMul' || opType === 'Gemm').length
    }
    expect(await products('--as', 'merged')).toBeLessThan(await products())
    expect(await exportFor('--as', 'peft')).toMatchObject({ code: 1, stderr: expect.stringContaining('--for webgpu') })
  })

  it('refuses an adapter alone if the run trained a head, too', async () => {
    await writeModel(at('digits.onnx'), digits())
    const changes = { model: 'digits.onnx', epochs: 1, adapter: { r: 2 }, trainable: ['*.lora_*', 'head.weight'] }
    await space.writeRecipe('head.json', changes)
    expect(await run('train', at('head.json'), '--out', at('head'), '--quiet')).toMatchObject({ code: 0 })
    expect(await run('export', at('head'), '--as', 'merged', '-o', at('head.onnx'))).toMatchObject({ code: 0 })
    for (const form of ['peft', 'onnx-adapter'])
      expect(await run('export', at('head'), '--as', form, '-o', at('no'))).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('new head'),
      })
  })

  it('is refused for a run without an adapter', async () => {
    await space.writeRecipe('plain.json', { epochs: 1 })
    expect(await run('train', at('plain.json'), '--out', at('plain'), '--quiet')).toMatchObject({ code: 0 })
    expect(await run('export', at('plain'), '--as', 'peft', '-o', at('no'))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('trained no adapter'),
    })
  })
})

describe('adapter inline', () => {
  it('a model with a function > one without, whose layers can be adapted', async () => {
    const layer = create('FunctionProto', {
      name: 'Layer',
      domain: 'local',
      input: ['a', 'b'],
      output: ['c'],
      node: [node('MatMul', 'a b', 'p'), node('Relu', 'p', 'c')],
      opsetImport: [create('OperatorSetIdProto', { domain: '', version: 17n })],
    })
    const content = {
      nodes: [node('Layer', 'x w', 'y', {}, 'local')],
      inputs: [info('x', ['N', 2])],
      outputs: [info('y', ['N', 2])],
      initializers: { w: tensor('float32', [2, 2], Float32Array.of(1, 2, 3, -4)) },
    }
    const local = create('OperatorSetIdProto', { domain: 'local', version: 1n })
    const opsetImport = [layer.opsetImport[0]!, local]
    await writeFile(at('functions.onnx'), modelBytes(content, { more: { functions: [layer], opsetImport } }))
    const inline = (path: string, to: string) => run('adapter', 'inline', path, '-o', to, '--json')
    expect(JSON.parse((await inline(at('functions.onnx'), at('inlined.onnx'))).stdout)).toMatchObject({
      functions: 1,
      nodes: 2,
    })
    const x = tensor('float32', [1, 2], Float32Array.of(1, 1))
    const inlined = await readModel(at('inlined.onnx'))
    expect(numbersOf((await runModel(inlined, { x }))['y']!)).toEqual([4, 0])
    expect(adapterOf(lora(inlined, { targets: 'w' })).layers).toHaveLength(1)
    const again = await inline(at('inlined.onnx'), at('again.onnx'))
    expect(JSON.parse(again.stdout).error.code).toBe('invalid-option')
  })
})
