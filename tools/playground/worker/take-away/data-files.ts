import { OnnxIreError } from 'onnx-ire'
import type { DataSource } from 'onnx-ire/recipe'
import type { DataChoice, ShownExample } from '../../protocol.js'
import { toImageOptions } from '../form.js'
import { findDelimiter } from '../preview.js'
import type { TrainedRun } from './trained-run.js'

/** The data of a run as files, and as the source of a recipe that reads them. */
export interface DataFiles {
  readonly source: DataSource
  readonly files: ReadonlyMap<string, Blob>
}

const folder = 'data'

/** Describes the data of a run by files below `data`; drawings and photos of the webcam become PNG files. */
export async function toDataFiles(run: TrainedRun): Promise<DataFiles> {
  const { choice, form, summary, input } = run
  const image = toImageOptions(form)
  switch (choice.kind) {
    case 'folder':
      return {
        source: { kind: 'image-folder', folder, input, image, classes: summary.classes },
        files: new Map(choice.files.map(({ path, file }) => [`${folder}/${path}`, file])),
      }
    case 'shown': {
      const names = toFolderNames(summary.classes)
      const files = new Map<string, Blob>()
      for (const [i, { pixels, label }] of choice.examples.entries()) {
        const name = names[summary.classes.indexOf(label)]!
        files.set(`${folder}/${name}/${String(i + 1).padStart(5, '0')}.png`, await toPng(pixels))
      }
      return { source: { kind: 'image-folder', folder, input, image, classes: names }, files }
    }
    case 'csv': {
      const file = `${folder}/${choice.file.name}`
      const labels = { columns: choice.label, as: 'class', classes: summary.classes } as const
      const delimiter = await findDelimiter(choice.file)
      const columns = choice.columns ?? '*'
      return {
        source: { kind: 'csv', file, tensors: { [input]: columns, labels }, delimiter, missing: 'skip' },
        files: new Map([[file, choice.file]]),
      }
    }
    case 'idx': {
      const names = toIdxNames(choice)
      const [images, labels] = [`${folder}/${names.images}`, `${folder}/${names.labels}`]
      return {
        source: { kind: 'idx', images, labels, input, image },
        files: new Map([
          [images, choice.images],
          [labels, choice.labels],
        ]),
      }
    }
  }
}

/** Paths below `data` of the files of images and labels, which may have the same name. */
export function toIdxNames({ images, labels }: DataChoice & { readonly kind: 'idx' }) {
  // Some file systems ignore case.
  if (images.name.toLowerCase() !== labels.name.toLowerCase()) return { images: images.name, labels: labels.name }
  return { images: `images/${images.name}`, labels: `labels/${labels.name}` }
}

/** Names of folders for classes, valid on every system and different from each other. */
export function toFolderNames(classes: readonly string[]): string[] {
  const taken = new Set<string>()
  return classes.map((name) => {
    const plain = name.replace(/[^\p{L}\p{N} _-]/gu, '_').trim() || 'class'
    let unique = plain
    // Some file systems ignore case.
    for (let i = 2; taken.has(unique.toLowerCase()); i++) unique = `${plain} ${i}`
    taken.add(unique.toLowerCase())
    return unique
  })
}

async function toPng(pixels: ImageData): Promise<Blob> {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height)
  canvas.getContext('2d')!.putImageData(pixels, 0, 0)
  return canvas.convertToBlob({ type: 'image/png' })
}

/** Reads a PNG file that `toDataFiles` wrote. @throws 'invalid-data' */
export async function fromPng(file: Blob, label: string, path: string): Promise<ShownExample> {
  const options = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' } as const
  const bitmap = await createImageBitmap(file, options).catch((cause) => {
    throw new OnnxIreError('invalid-data', `${path} in the project cannot be read as a picture`, { cause })
  })
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height)
  const context = canvas.getContext('2d', { willReadFrequently: true })!
  context.drawImage(bitmap, 0, 0)
  bitmap.close()
  return { pixels: context.getImageData(0, 0, canvas.width, canvas.height), label }
}
