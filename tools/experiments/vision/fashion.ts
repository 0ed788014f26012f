import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { augment, type Dataset, fromArrays, imageColumn, labelColumn, type Tensors } from 'onnx-ire'
import { Random, subset } from 'onnx-ire/data'
import { readIdx } from 'onnx-ire/node'

const side = 28
/** Mean and standard deviation of Fashion-MNIST. */
const form = { mean: 0.286, std: 0.353 }

export interface Fashion {
  /** Training data, with random flips and shifts. */
  readonly train: Dataset
  /** Further images of the training set, for choosing settings. */
  readonly validation: Dataset
  readonly test: Dataset
  /** Training images without augmentation, for measuring the Hessian. */
  readonly plain: Dataset
}

export interface Sizes {
  readonly examples: number
  readonly held: number
  readonly tests: number
}

/**
 * Reads Fashion-MNIST: a fixed random selection of `examples` and `held` other images of the training set, and the
 * first `tests` images of the test set.
 * @param folder folder with the four files; default: that of the Debian package dataset-fashion-mnist
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

/** Flips half of the images and shifts each by up to two pixels, filled with black. */
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
