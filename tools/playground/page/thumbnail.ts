import { createElement } from './dom.js'

/** Side of a thumbnail, in pixels. */
const side = 40

/** A canvas with a small version of a picture. */
export function createThumbnail(pixels: ImageData): HTMLCanvasElement {
  const canvas = createElement('canvas', { width: side, height: side })
  const source = new OffscreenCanvas(pixels.width, pixels.height)
  source.getContext('2d')!.putImageData(pixels, 0, 0)
  canvas.getContext('2d')!.drawImage(source, 0, 0, side, side)
  return canvas
}
