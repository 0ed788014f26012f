import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readLanguageModel } from '../../src/language/index.js'
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
