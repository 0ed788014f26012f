import { join } from 'node:path'
import type { Random } from 'onnx-ire/data'
import sharp from 'sharp'
import type { Box } from './blazeface.js'

/** Side of an image in pixels. */
export const side = 128

/** An image as pixels [128, 128, 3] in [-1, 1], and the boxes of its faces. */
export interface Scene {
  readonly pixels: Float32Array
  readonly boxes: readonly Box[]
}

/** RGBA pixels of an emoji, [64, 64, 4]. */
type Sprite = Uint8Array

interface Entry {
  readonly image: string
  readonly name: string
  readonly category: string
  readonly subcategory: string
  readonly has_img_google: boolean
}

export async function loadEmoji(
  entries: readonly Entry[],
  folder: string,
): Promise<{ faces: Sprite[]; others: Sprite[] }> {
  const isFace = ({ name, subcategory }: Entry) =>
    /^face-|^cat-face$|^monkey-face$/.test(subcategory) || (subcategory === 'animal-mammal' && name.includes('FACE'))
  const isOther = ({ category }: Entry) => ['Food & Drink', 'Objects'].includes(category)
  const load = (selected: readonly Entry[]) =>
    Promise.all(
      selected.map(
        async ({ image }) => new Uint8Array(await sharp(join(folder, image)).ensureAlpha().raw().toBuffer()),
      ),
    )
  const drawn = entries.filter(({ has_img_google }) => has_img_google)
  return { faces: await load(drawn.filter(isFace)), others: await load(drawn.filter(isOther)) }
}

/** Draws `count` images of one to three faces and up to three other things of 20 to 56 pixels on noise. */
export function drawScenes(
  count: number,
  faces: readonly Sprite[],
  others: readonly Sprite[],
  random: Random,
): Scene[] {
  return Array.from({ length: count }, () => {
    const colors = random.fill(new Float32Array(6), 'uniform')
    const noise = random.fill(new Float32Array(3 * side * side), 'normal')
    const pixels = noise.map((e, i) => {
      const share = i / noise.length
      return (1 - share) * colors[i % 3]! + share * colors[3 + (i % 3)]! + 0.06 * e
    })
    const taken: Box[] = []
    const boxes: Box[] = []
    const wanted = [...Array(1 + random.integer(3)).fill(faces), ...Array(random.integer(4)).fill(others)] as Sprite[][]
    for (const sprites of wanted) {
      const size = 20 + random.integer(37)
      const box: Box = [size / 2 + random.integer(side - size), size / 2 + random.integer(side - size), size, size]
      if (taken.some(([x, y, s]) => Math.max(Math.abs(x - box[0]), Math.abs(y - box[1])) < (s + size) / 2)) continue
      paste(pixels, sprites[random.integer(sprites.length)]!, box)
      taken.push(box)
      if (sprites === faces) boxes.push(box)
    }
    return { pixels: pixels.map((e) => Math.min(Math.max(2 * e - 1, -1), 1)), boxes }
  })
}

function paste(pixels: Float32Array, sprite: Sprite, [x, y, size]: Box): void {
  const [left, top] = [x - size / 2, y - size / 2]
  for (let v = 0; v < size; v++)
    for (let u = 0; u < size; u++) {
      const from = 4 * (64 * Math.floor((64 * v) / size) + Math.floor((64 * u) / size))
      const alpha = sprite[from + 3]! / 255
      for (const c of [0, 1, 2]) {
        const to = 3 * (side * Math.floor(top + v) + Math.floor(left + u)) + c
        pixels[to] = (1 - alpha) * pixels[to]! + (alpha * sprite[from + c]!) / 255
      }
    }
}
