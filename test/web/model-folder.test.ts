import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { modelOf } from '../../src/graph/index.js'
import { namedTensors } from '../../src/index.js'
import { constant, input } from '../../src/ir/leaf.js'
import { readLanguageModel } from '../../src/language/index.js'
import { writeModel } from '../../src/node/index.js'
import { op } from '../../src/op/op.js'
import { modelFolder } from '../../src/web/files/model-folder.js'
import { readModel, webgpu } from '../../src/web/index.js'
import { golden } from '../language/models.js'
import { cpu } from '../lowering/providers.js'

const folder = join(golden, 'qwen2-genai')
const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))

describe('modelFolder of a browser', () => {
  it('files with paths > a language model', async () => {
    const files = paths.map((path) => ({ path, file: new Blob([readFileSync(join(folder, path))]) }))
    const found = await readLanguageModel(await modelFolder(files))
    expect(found).toMatchObject({ file: 'onnx/model_q4f16.onnx', endTokens: [2] })
  })

  it('an address > a language model; a missing file > io', async () => {
    const server = createServer((request, response) => {
      const path = request.url!.slice(1)
      const found = paths.includes(path)
      response.writeHead(found ? 200 : 404)
      response.end(found ? readFileSync(join(folder, path)) : '')
    }).listen(0)
    try {
      const served = await modelFolder(`http://localhost:${(server.address() as AddressInfo).port}`)
      expect(await readLanguageModel(served)).toMatchObject({ file: 'onnx/model_q4f16.onnx' })
      await expect(served.read('none.json')).rejects.toMatchObject({ code: 'io' })
    } finally {
      server.close()
    }
  })

  it('a server that responds with its start page to missing files, as Vite does > only the files that exist', async () => {
    const server = createServer((request, response) => {
      const path = request.url!.slice('/model/'.length)
      const found = paths.includes(path) && path !== 'generation_config.json'
      response.writeHead(200, { 'content-type': found ? 'application/octet-stream' : 'text/html;charset=utf-8' })
      response.end(found ? readFileSync(join(folder, path)) : '<!doctype html>')
    }).listen(0)
    try {
      const served = await modelFolder(`http://localhost:${(server.address() as AddressInfo).port}/model`)
      expect(await served.has('config.json')).toBe(true)
      expect(await served.has('generation_config.json')).toBe(false)
      expect(await readLanguageModel(served)).toMatchObject({ file: 'onnx/model_q4f16.onnx' })
    } finally {
      server.close()
    }
  })
})

it('a file of more than 2 GB > io with its size, instead of a message about permissions', async () => {
  const file = Object.defineProperty(new File([], 'large.onnx'), 'size', { value: 3.2e9 })
  await expect(readModel(file)).rejects.toMatchObject({ code: 'io', message: expect.stringMatching(/3\.2 GB/) })
})

it('webgpu where there is no navigator.gpu, as on a server > runtime, or the fallback', async () => {
  await expect(webgpu()).rejects.toMatchObject({ code: 'runtime', message: expect.stringMatching(/navigator\.gpu/) })
  const runtime = await webgpu({ fallback: () => cpu })
  expect(runtime.description).toBe(
    `${cpu.description}, because WebGPU cannot start: it needs a browser: there is no navigator.gpu`,
  )
})

/** A model net.onnx whose weight 'w' is in net.onnx.data, and the content of both files. */
async function externalModel() {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-external-'))
  const w = constant({ dtype: 'float32', dims: [2], data: Float32Array.of(1, 1) }, 'w')
  const x = input('x', 'float32', [2])
  const graph = { name: 'net', inputs: new Map([['x', x]]), outputs: new Map([['y', op.Mul(x, w)]]) }
  await writeModel(join(folder, 'net.onnx'), modelOf(graph), { externalData: 1 })
  const [model, weights] = ['net.onnx', 'net.onnx.data'].map((name) => readFileSync(join(folder, name)))
  rmSync(folder, { recursive: true })
  return { model: model!, weights: weights! }
}

it('external data at an address, with signs in its name that an address reserves > are read', async () => {
  const { model, weights } = await externalModel()
  const names = ['ne#.onnx.data', 'n%2.onnx.data', 'n?t.onnx.data', 'ab:.onnx.data', './t.onnx.data', 'd/t.onnx.data']
  const plain = (name: string) => name.replace('./', '')
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!.slice(1))
    const name = names[Number.parseInt(path, 10)]
    const named = Buffer.from(model)
    // A name of the same length.
    if (name) named.write(name, named.indexOf('net.onnx.data'))
    const found = name ? named : names.map(plain).includes(path) ? weights : undefined
    response.writeHead(found ? 200 : 404)
    response.end(found)
  }).listen(0)
  try {
    for (const i of names.keys()) {
      const read = await readModel(`http://localhost:${(server.address() as AddressInfo).port}/${i}.onnx`)
      expect(namedTensors(read).get('w')!.data).toEqual(Float32Array.of(1, 1))
    }
  } finally {
    server.close()
  }
})

it('external data of one name in several folders > those at the place that the model names', async () => {
  const { model } = await externalModel()
  const picked = (path: string, content: Uint8Array<ArrayBuffer>) =>
    Object.defineProperty(new File([content], path.split('/').at(-1)!), 'webkitRelativePath', {
      value: path.includes('/') ? path : '',
    })
  const weights = (path: string, first: number) => picked(path, new Uint8Array(Float32Array.of(first, first).buffer))
  const read = async (source: File, ...external: readonly File[]) =>
    namedTensors(await readModel(source, { external })).get('w')!.data[0]
  const plain = new Uint8Array(model)
  const others = [weights('all/a/net.onnx.data', 2), weights('all/net.onnx.data', 3), weights('all/b/net.onnx.data', 4)]
  expect(await read(picked('all/b/net.onnx', plain), ...others)).toBe(4)
  expect(await read(picked('all/net.onnx', plain), ...others)).toBe(3)
  // A location in a folder, of equal length.
  model.write('b/n.onnx.data', model.indexOf('net.onnx.data'))
  const nested = new Uint8Array(model)
  const named = [weights('n.onnx.data', 5), weights('all/a/n.onnx.data', 6), weights('all/b/n.onnx.data', 7)]
  expect(await read(picked('net.onnx', nested), ...named)).toBe(7)
  expect(await read(picked('net.onnx', nested), named[0]!)).toBe(5)
})
