/** Side of the pictures from the camera and from photos, in pixels. */
export const pictureSide = 160

/** The central square of a picture, with a side in pixels. */
export function cropSquare(picture: CanvasImageSource, width: number, height: number, side = pictureSide): ImageData {
  const cropped = Math.min(width, height)
  const context = new OffscreenCanvas(side, side).getContext('2d', { willReadFrequently: true })!
  context.imageSmoothingQuality = 'high'
  context.drawImage(picture, (width - cropped) / 2, (height - cropped) / 2, cropped, cropped, 0, 0, side, side)
  return context.getImageData(0, 0, side, side)
}

/** Decodes an image file to its central square. Rejects if the browser cannot read it. */
export async function readPicture(file: Blob, side = pictureSide): Promise<ImageData> {
  const bitmap = await createImageBitmap(file)
  try {
    return cropSquare(bitmap, bitmap.width, bitmap.height, side)
  } finally {
    bitmap.close()
  }
}
