const ascii = (text: string): readonly number[] => Array.from(text, (char) => char.charCodeAt(0))

interface Format {
  readonly offset: number
  readonly magic: readonly number[]
  readonly description: string
}

const format = (magic: string | readonly number[], description: string, offset = 0): Format => ({
  offset,
  magic: typeof magic === 'string' ? ascii(magic) : magic,
  description,
})

/** Files that are mistaken for ONNX models, by their first bytes. */
const formats: readonly Format[] = [
  format('version https://git-lfs', 'it is a Git LFS pointer, not the model: run `git lfs pull` to fetch it'),
  format('<!DOCTYPE', 'it is a web page, probably an error page of the site it was downloaded from'),
  format('<!doctype', 'it is a web page, probably an error page of the site it was downloaded from'),
  format('<html', 'it is a web page, probably an error page of the site it was downloaded from'),
  format('{', 'it looks like JSON'),
  format('[', 'it looks like JSON'),
  format(
    'PK\x03\x04',
    'it is a zip archive (PyTorch saves such files): unpack it, or export the model with torch.onnx.export',
  ),
  format([0x80, 0x02], 'it is a Python pickle, as PyTorch saves: export the model with torch.onnx.export'),
  format([0x1f, 0x8b], 'it is gzip-compressed: unpack it first'),
  format('ORTM', "it is in onnxruntime's own .ort format: use the .onnx file it was converted from", 4),
  format('TFL3', 'it is a TensorFlow Lite model: convert it with tf2onnx', 4),
  format([0x89, ...ascii('HDF')], 'it is an HDF5 file, as Keras saves: convert the model with tf2onnx'),
  format([0x89, ...ascii('PNG')], 'it is a PNG image'),
  format([0xff, 0xd8, 0xff], 'it is a JPEG image'),
  format('%PDF', 'it is a PDF document'),
]

/** Describes bytes that are not an ONNX model by their file format; null if the format is unknown. */
export function describeFormat(bytes: Uint8Array): string | null {
  const found = formats.find(({ offset, magic }) => magic.every((byte, i) => bytes[offset + i] === byte))
  return found?.description ?? null
}
