import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { augment, type Dataset, fromArrays, imageColumn, labelColumn, type Tensors } from 'onnx-ire'
import { Random, subset } from 'onnx-ire/data'
import { readIdx } from 'onnx-ire/node'

const side = 28
/** Fashion-MNIST's own mean and deviation. */
const form = { mean: 0.286, std: 0.353 }

export interface Fashion {
  /** With random flips and shifts in training. */
  readonly train: Dataset
  /** Other images of the training set, to choose settings by. */
  readonly validation: Dataset
  readonly test: Dataset
  /** Training images as they are: what the Hessian is measured on. */
  readonly plain: Dataset
}

export interface Sizes {
  readonly examples: number
  readonly held: number
  readonly tests: number
}

/**
 * Fashion-MNIST: `examples` and `held` others of the training set, drawn once and for all, and the first `tests` of the
 * test set.
 * @param folder where its four files are; without it that of the Debian package dataset-fashion-mnist
 */
export async function fashion(folder: string | undefined, { examples, held, tests }: Sizes): Promise<Fashion> {
  const from = folder ?? packaged()
  const [train, test] = await Promise.all([pair(from, 'train'), pair(from, 't10k')])
  const order = new Random(0).stream('examples').permutation(train.length)
  const plain = subset(train, order.slice(0, examples))
  return {
    train: augment(plain, flippedAndShifted),
    validation: subset(train, order.slice(examples, examples + held)),
    test: subset(test, { end: tests }),
    plain,
  }
}

async function pair(folder: string, name: string): Promise<Dataset> {
  const [pixels, classes] = await Promise.all(
    ['images-idx3', 'labels-idx1'].map((what) => readIdx(join(folder, `${name}-${what}-ubyte.gz`))),
  )
  return fromArrays({ x: imageColumn(pixels!, form), labels: labelColumn(classes!) })
}

function packaged(): string {
  try {
    const files = execFileSync('dpkg', ['-L', 'dataset-fashion-mnist'], { encoding: 'utf8', stdio: 'pipe' }).split('\n')
    return dirname(files.find((file) => file.endsWith('train-images-idx3-ubyte.gz'))!)
  } catch {
    throw new Error(
      'Fashion-MNIST is not here: apt-get install dataset-fashion-mnist, or give the folder of its four .gz files with --data',
    )
  }
}

/** Mirrors every other image and moves each by up to two pixels, black coming in. */
export function flippedAndShifted(batch: Tensors, random: Random): Tensors {
  const { x } = batch
  const source = x!.data as Float32Array
  const data = new Float32Array(source.length)
  const black = -form.mean / form.std
  for (let at = 0; at < data.length; at += side * side) {
    const mirrored = random.sign() < 0
    const [down, right] = [random.integer(5) - 2, random.integer(5) - 2]
    for (let i = 0; i < side; i++)
      for (let j = 0; j < side; j++) {
        const [row, column] = [i - down, j - right]
        const inside = row >= 0 && row < side && column >= 0 && column < side
        const seen = mirrored ? side - 1 - column : column
        data[at + i * side + j] = inside ? source[at + row * side + seen]! : black
      }
  }
  return { ...batch, x: { dtype: 'float32', dims: x!.dims, data } }
}
