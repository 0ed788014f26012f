import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { writeTokens } from '../../src/node/data/tokens.js'
import { Random } from '../../src/util/random.js'

/** Writes small data files in the formats and at the paths of the recipes; returns the working directory. */
export async function writeFixtures(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'onnx-ire-recipes-'))
  const folder = async (...names: string[]) => {
    const path = join(root, 'data', ...names)
    await mkdir(path, { recursive: true })
    return path
  }
  const cifar10 = await folder('cifar-10-batches-bin')
  for (const name of [1, 2, 3, 4].map((number) => `data_batch_${number}`).concat('test_batch'))
    await writeFile(
      join(cifar10, `${name}.bin`),
      cifar(2, (i) => [i]),
    )
  await writeFile(
    join(cifar10, 'data_batch_5.bin'),
    cifar(1, () => [9]),
  )
  const cifar100 = await folder('cifar-100-binary')
  await writeFile(
    join(cifar100, 'train.bin'),
    cifar(9, (i) => [19, 99 - i]),
  )
  await writeFile(
    join(cifar100, 'test.bin'),
    cifar(2, () => [0, 0]),
  )
  for (const [part, images] of [
    ['train', 4],
    ['val', 1],
  ] as const)
    for (const wordnet of ['n01440764', 'n01443537']) {
      const path = await folder('imagenet', part, wordnet)
      for (let i = 0; i < images; i++) await writeFile(join(path, `${wordnet}_${i}.JPEG`), await photo(300 + i, 280))
    }
  for (const corpus of ['wikitext-2', 'wikitext-103', 'minipile', 'openwebtext']) {
    const path = await folder(corpus)
    for (const [part, tokens] of [
      ['train', 5000],
      ['validation', 2100],
    ] as const)
      await writeTokens(join(path, `${part}.tokens`), [randomIntegers(tokens, vocabulary)], { vocabulary, tokens })
  }
  return root
}

/** Vocabulary size of the token files. */
export const vocabulary = 60

/** Random records in the binary format of CIFAR. */
const cifar = (images: number, labels: (i: number) => number[]): Uint8Array =>
  Uint8Array.from(Array.from({ length: images }, (_, i) => [...labels(i), ...randomIntegers(3 * 32 * 32, 256)]).flat())

const photo = (width: number, height: number): Promise<Buffer> =>
  sharp(Uint8Array.from(randomIntegers(3 * width * height, 256)), { raw: { width, height, channels: 3 } })
    .jpeg()
    .toBuffer()

const random = new Random(1)
const randomIntegers = (length: number, below: number): number[] => Array.from({ length }, () => random.integer(below))
