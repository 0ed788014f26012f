const ascii = (text: string): readonly number[] => Array.from(text, (char) => char.charCodeAt(0))

interface Format {
  readonly offset: number
  readonly magic: readonly number[]
  readonly is: string
}

const starts = (magic: string | readonly number[], is: string, offset = 0): Format => ({
  offset,
  magic: typeof magic === 'string' ? ascii(magic) : magic,
  is,
})

/** What people hand in for a model, by its first bytes. */
const formats: readonly Format[] = [
  starts('version https://git-lfs', 'it is a Git LFS pointer, not the file itself: run `git lfs pull` to fetch it'),
  starts('<!DOCTYPE', 'it is a web page, probably an error page of the site it was downloaded from'),
  starts('<!doctype', 'it is a web page, probably an error page of the site it was downloaded from'),
  starts('<html', 'it is a web page, probably an error page of the site it was downloaded from'),
  starts('{', 'it looks like JSON'),
  starts('[', 'it looks like JSON'),
  starts(
    'PK\x03\x04',
    'it is a zip archive (PyTorch saves such files): unpack it, or export the model with torch.onnx.export',
  ),
  starts([0x80, 0x02], 'it is a Python pickle, as PyTorch saves: export the model with torch.onnx.export'),
  starts([0x1f, 0x8b], 'it is gzip-compressed: unpack it first'),
  starts('ORTM', "it is in onnxruntime's own .ort format: use the .onnx file it was made from", 4),
  starts('TFL3', 'it is a TensorFlow Lite model: convert it with tf2onnx', 4),
  starts([0x89, ...ascii('HDF')], 'it is an HDF5 file, as Keras saves: convert the model with tf2onnx'),
  starts([0x89, ...ascii('PNG')], 'it is a PNG image'),
  starts([0xff, 0xd8, 0xff], 'it is a JPEG image'),
  starts('%PDF', 'it is a PDF document'),
]

/** What bytes are that are not an ONNX model, or null when they look like nothing known. */
export function describeFormat(bytes: Uint8Array): string | null {
  const found = formats.find(({ offset, magic }) => magic.every((byte, i) => bytes[offset + i] === byte))
  return found?.is ?? null
}
