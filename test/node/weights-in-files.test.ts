import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { mlp } from '../../models/mlp.js'
import { modelOf } from '../../src/graph/index.js'
import { adamw, crossEntropy, fromArrays, type Model, type Runtime, Trainer } from '../../src/index.js'
import { compileModel } from '../../src/lowering/compile.js'
import { node, readModel, writeModel } from '../../src/node/index.js'
import { edit } from '../../src/onnx/proto/message.js'
import type { CompileHints } from '../../src/runtime/runtime.js'

/** Bytes of the weights of the hidden layer, and of the rest. */
const [large, small] = [64 * 1024 * 4, 100_000]

const data = fromArrays({
  x: { dims: [40, 64], data: Float32Array.from({ length: 40 * 64 }, (_, i) => Math.sin(i)) },
  labels: { dtype: 'int64', dims: [40], data: BigInt64Array.from({ length: 40 }, (_, i) => BigInt(i % 4)) },
})

describe.skipIf(process.platform === 'win32')('weights in external data', () => {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-weights-'))
  const path = join(folder, 'model.onnx')
  const model = modelOf(mlp({ features: 64, hidden: [1024], classes: 4, seed: 3 }))
  const compiled: { readonly bytes: number; readonly folder: string | undefined }[] = []
  let runtime: Runtime
  beforeAll(async () => {
    await writeModel(path, model, { externalData: true })
    const own = node({ threads: 1 })
    runtime = {
      ...own,
      compile(bytes: Uint8Array, hints: CompileHints = {}) {
        compiled.push({ bytes: bytes.length, folder: hints.folder })
        return own.compile(bytes, hints)
      },
    }
  })
  afterAll(async () => {
    await runtime.dispose()
    rmSync(folder, { recursive: true })
  })

  async function train(given: Model): Promise<number[]> {
    const losses: number[] = []
    const trainer = await Trainer.create(given, {
      loss: crossEntropy(),
      optimizer: adamw({ lr: 1e-2 }),
      trainable: 'head.*',
      batchSize: 8,
      runtime,
    })
    await trainer.train(data, { totalSteps: 4, onStep: ({ loss }) => void losses.push(loss) })
    losses.push((await trainer.evaluate(data)).loss)
    await trainer.dispose()
    return losses
  }

  it('frozen weights > are neither read nor part of the compiled model; losses are equal bit for bit', async () => {
    const expected = await train(model)
    expect(Math.max(...compiled.map(({ bytes }) => bytes))).toBeGreaterThan(large)
    compiled.length = 0
    const stored = await readModel(path)
    const read = vi.spyOn(stored.external!, 'read')
    expect(await train(stored)).toEqual(expected)
    expect(compiled.length).toBeGreaterThan(1)
    for (const { bytes, folder: from } of compiled) {
      expect(bytes).toBeLessThan(small)
      expect(from).toBe(folder)
    }
    const lengths = read.mock.calls.map(([, , length]) => length ?? Number.POSITIVE_INFINITY)
    expect(lengths.filter((length) => length >= large)).toEqual([])
  })

  it('a model that is run as it is > computes the same', async () => {
    const { x } = await data.batch([0, 1, 2])
    const run = async (given: Model) => {
      const program = await compileModel(runtime, given)
      const results = Object.values(await program.run({ x: x! }))
      await program.release()
      return results
    }
    const expected = await run(model)
    compiled.length = 0
    expect(await run(await readModel(path))).toEqual(expected)
    expect(compiled).toEqual([{ bytes: expect.any(Number), folder }])
    expect(compiled[0]!.bytes).toBeLessThan(small)
  })

  it('aligned weights inside the file of the model > are not part of the compiled model', async () => {
    const expected = await train(model)
    const inside = join(folder, 'inside.onnx')
    const sizes: number[] = []
    // Names of four lengths: the weights of one of the files are aligned.
    for (const name of ['a', 'ab', 'abc', 'abcd']) {
      const graph = edit(model.proto.graph!, { name })
      await writeModel(inside, { ...model, proto: edit(model.proto, { graph }) }, { externalData: false })
      compiled.length = 0
      expect(await train(await readModel(inside))).toEqual(expected)
      sizes.push(Math.max(...compiled.map(({ bytes }) => bytes)))
    }
    expect(sizes.filter((bytes) => bytes < small)).toHaveLength(1)
  })

  it('a model whose own file is replaced > is trained as it was read; one that is written to > io', async () => {
    const expected = await train(model)
    const inside = join(folder, 'inside.onnx')
    await writeModel(inside, model, { externalData: false })
    const stored = await readModel(inside)
    await writeModel(inside, modelOf(mlp({ features: 64, hidden: [1024], classes: 4, seed: 4 })))
    expect(await train(stored)).toEqual(expected)
    const last = await readModel(inside)
    writeFileSync(inside, 'something else')
    await expect(train(last)).rejects.toMatchObject({ code: 'io', message: expect.stringContaining(inside) })
  })

  it('a file that changed since the model was read > external-data', async () => {
    const stored = await readModel(path)
    const file = join(folder, 'model.onnx.data')
    writeFileSync(file, readFileSync(file))
    utimesSync(file, 1, 1)
    await expect(train(stored)).rejects.toMatchObject({
      code: 'external-data',
      message: expect.stringContaining('has changed since'),
    })
  })
})
