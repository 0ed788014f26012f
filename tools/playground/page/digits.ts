import sheet from 'virtual:digits'

/** Side of a digit of MNIST, in pixels. */
const side = 28

/** Handwritten digits of MNIST: for each digit its pictures, of which the last is one to try. */
export async function readDigits(): Promise<ImageData[][]> {
  const bitmap = await createImageBitmap(await (await fetch(sheet)).blob())
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d', { willReadFrequently: true })!
  context.drawImage(bitmap, 0, 0)
  return Array.from({ length: bitmap.height / side }, (_, digit) =>
    Array.from({ length: bitmap.width / side }, (_, i) => context.getImageData(i * side, digit * side, side, side)),
  )
}
