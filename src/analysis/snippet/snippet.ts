import type { ImageOptions } from '../../data/image/image-column.js'
import { numbersOf } from '../../ir/leaf.js'
import type { Tensor } from '../../ir/tensor.js'
import { OnnxIreError } from '../../util/errors.js'
import type { ScoreKind } from './score-kind.js'

/** Platform that a snippet runs on. */
export type SnippetTarget = 'node' | 'web' | 'python'

/** An input of a model: images, which are read from a file, or the values of an example. */
export type SnippetInput =
  | {
      readonly kind: 'image'
      readonly name: string
      readonly image: ImageOptions & { readonly size: number | readonly [number, number] }
      /** Dims of one example. */
      readonly dims: readonly number[]
    }
  | { readonly kind: 'values'; readonly name: string; readonly example: Tensor }

/** A trained model, and what is needed to run it. */
export interface Snippet {
  /** Name of the model file. */
  readonly model: string
  readonly inputs: readonly SnippetInput[]
  /** Outputs of the model. */
  readonly outputs: readonly string[]
  /** Meaning and class names of the only output, if it holds scores of classes. */
  readonly classes: {
    readonly scores: ScoreKind
    readonly names: readonly string[]
    /**
     * What the scores answer: the class with the highest one; 'labels', each with yes or no; 'binary', class 0 or 1
     * by a single score; or 'text', the characters of the steps of `ctc`, with '' for the blank. Default 'class'.
     */
    readonly answer?: 'class' | 'labels' | 'binary' | 'text'
  } | null
}

/**
 * Writes the lines that run a model without this library, on onnxruntime for Node, for the web or for Python, as
 * `onnx-ire snippet` does. In Node and Python the model is read from the folder of the file with the lines, on the web
 * from that of the page.
 * @throws OnnxIreError `invalid-option` for images with `fit: 'none'`
 * @example
 * ```ts
 * const code = writeSnippet('python', {
 *   model: 'tuned.onnx',
 *   inputs: [{ kind: 'image', name: 'x', image: { size: 64 }, dims: [3, 64, 64] }],
 *   outputs: ['scores'],
 *   classes: { scores: findScoreKind(model, 'scores'), names: ['cat', 'dog'] },
 * })
 * ```
 */
export function writeSnippet(target: SnippetTarget, snippet: Snippet): string {
  const lines = { node: writeNode, web: writeWeb, python: writePython }[target](snippet)
  return `${lines.join('\n')}\n`
}

interface Pixels {
  readonly rows: number
  readonly columns: number
  readonly channels: number
  readonly fit: 'fill' | 'contain' | 'cover' | 'line'
  /** Whether the channels of the input are in the order BGR. */
  readonly reversed: boolean
  readonly scale: number
  readonly mean: readonly number[]
  readonly std: readonly number[]
  readonly background: number
  readonly planar: boolean
}

function resolveImage({ size, fit = 'fill', channels = 3, scale = 1 / 255, ...rest }: ImageOptions): Pixels {
  if (fit === 'none')
    throw new OnnxIreError(
      'invalid-option',
      "image.fit of the run is 'none': there is no short code that does the same",
    )
  const { mean = 0, std = 1, background = 0, layout = 'NCHW', order } = rest
  const [rows, columns] = typeof size === 'number' ? [size, size] : size!
  const perChannel = (value: number | readonly number[]) =>
    typeof value === 'number' ? Array.from({ length: channels }, () => value) : value
  const numbers = { mean: perChannel(mean), std: perChannel(std), background, scale }
  return { rows, columns, channels, fit, reversed: order === 'BGR', planar: layout === 'NCHW', ...numbers }
}

const quote = (text: string): string => JSON.stringify(text)
const list = (values: readonly (number | string)[]): string => `[${values.join(', ')}]`
/** A factor as it is usually written. */
const formatScale = (scale: number): string => (scale === 1 / 255 ? '(1 / 255)' : String(scale))

/** Lines that convert pixels in `pixels`, interleaved with `depth` channels, to the array `x`. */
function convertPixels(p: Pixels, depth: number): string[] {
  const count = p.rows * p.columns
  const at = p.planar ? `c * ${count} + i` : `i * ${p.channels} + c`
  const isGray = p.channels === 1
  const value = isGray
    ? `0.299 * pixels[${depth} * i] + 0.587 * pixels[${depth} * i + 1] + 0.114 * pixels[${depth} * i + 2]`
    : `pixels[${depth} * i + ${p.reversed ? '2 - c' : 'c'}]`
  return [
    `const mean = ${list(p.mean)}`,
    `const std = ${list(p.std)}`,
    `const x = new Float32Array(${p.channels * count})`,
    `for (let i = 0; i < ${count}; i++)`,
    `  for (let c = 0; c < ${p.channels}; c++)`,
    `    x[${at}] = ((${value}) * ${formatScale(p.scale)} - mean[c]) / std[c]`,
  ]
}

/** Lines that print the outputs, the labels answered with yes, or the most probable class, with probabilities. */
function printOutputs({ outputs, classes }: Snippet): string[] {
  if (!classes) return outputs.map((name) => `console.log(${quote(name)}, results[${quote(name)}].data)`)
  const { answer = 'class' } = classes
  if (answer === 'text')
    return [
      `const classes = ${JSON.stringify(classes.names)}`,
      `const scores = results[${quote(outputs[0]!)}].data`,
      "let text = ''",
      'for (let at = 0, last = -1; at < scores.length; at += classes.length) {',
      '  const step = scores.subarray(at, at + classes.length)',
      '  const top = step.indexOf(step.reduce((a, b) => Math.max(a, b)))',
      '  if (top !== last) text += classes[top]',
      '  last = top',
      '}',
      'console.log(text)',
    ]
  const single = answer === 'binary' ? 'yes' : 'probabilities'
  const probabilities = {
    probabilities: [`const ${single} = Array.from(scores)`],
    'log-probabilities': [`const ${single} = Array.from(scores, Math.exp)`],
    logits:
      answer !== 'class'
        ? [`const ${single} = Array.from(scores, (score) => 1 / (1 + Math.exp(-score)))`]
        : [
            'const most = Math.max(...scores)',
            'const powers = Array.from(scores, (score) => Math.exp(score - most))',
            'const sum = powers.reduce((a, b) => a + b)',
            'const probabilities = powers.map((power) => power / sum)',
          ],
  }[classes.scores]
  return [
    `const classes = ${JSON.stringify(classes.names)}`,
    `const scores = results[${quote(outputs[0]!)}].data`,
    ...probabilities,
    ...(answer === 'labels'
      ? [
          "const answers = classes.map((name, i) => name + ' ' + (100 * probabilities[i]).toFixed(1) + ' %')",
          "console.log(answers.filter((_, i) => probabilities[i] > 0.5).join(', ') || 'none')",
        ]
      : [
          ...(answer === 'binary' ? ['const probabilities = [1 - yes[0], yes[0]]'] : []),
          'const top = probabilities.indexOf(Math.max(...probabilities))',
          "console.log(classes[top], (100 * probabilities[top]).toFixed(1), '%')",
        ]),
  ]
}

/** A tensor of an example as JavaScript. */
function tensorInJs({ dtype, dims, data }: Tensor): string {
  const isBig = data instanceof BigInt64Array || data instanceof BigUint64Array
  const values = Array.from(data as ArrayLike<number | bigint | string>, (value) =>
    isBig ? `${value}n` : typeof value === 'string' ? quote(value) : Number(value),
  )
  const elements = ArrayBuffer.isView(data) ? `${data.constructor.name}.from(${list(values)})` : list(values)
  return `new ort.Tensor(${quote(dtype)}, ${elements}, ${list(dims)})`
}

const feedsInJs = ({ inputs }: Snippet): string[] => [
  'const feeds = {',
  ...inputs.map((input) =>
    input.kind === 'image'
      ? `  ${quote(input.name)}: new ort.Tensor('float32', x, ${list([1, ...input.dims])}),`
      : `  ${quote(input.name)}: ${tensorInJs(input.example)}, // an example`,
  ),
  '}',
]

function writeNode(snippet: Snippet): string[] {
  const image = snippet.inputs.find((input) => input.kind === 'image')
  return [
    "import { fileURLToPath } from 'node:url'",
    "import * as ort from 'onnxruntime-node'",
    ...(image ? ["import sharp from 'sharp'"] : []),
    '',
    ...(image ? nodeImage(resolveImage(image.image)) : []),
    ...feedsInJs(snippet),
    `const model = fileURLToPath(new URL(${quote(encodeURIComponent(snippet.model))}, import.meta.url)) // beside this file`,
    'const session = await ort.InferenceSession.create(model)',
    'const results = await session.run(feeds)',
    ...printOutputs(snippet),
  ]
}

const color = (gray: number): string => `{ r: ${gray}, g: ${gray}, b: ${gray} }`

function nodeImage(p: Pixels): string[] {
  const depth = p.channels === 4 ? 4 : 3
  const background = color(p.background)
  const alpha = depth === 4 ? '.ensureAlpha()' : `.flatten({ background: ${background} })`
  const ground = p.fit === 'contain' ? `, background: ${background}` : ''
  return [
    "const image = sharp(process.argv[2] ?? 'photo.jpg', { autoOrient: true, ignoreIcc: true })",
    ...(p.fit === 'line'
      ? [
          'const { width, height } = (await image.metadata()).autoOrient',
          `const columns = Math.min(${p.columns}, Math.ceil((width * ${p.rows}) / height))`,
        ]
      : []),
    `const pixels = await image${alpha}`,
    ...(p.fit === 'line'
      ? [
          `  .resize(columns, ${p.rows}, { fit: 'fill', kernel: 'linear' })`,
          `  .extend({ right: ${p.columns} - columns, background: ${background} })`,
        ]
      : [`  .resize(${p.columns}, ${p.rows}, { fit: '${p.fit}', kernel: 'linear'${ground} })`]),
    "  .toColourspace('srgb').raw().toBuffer()",
    ...convertPixels(p, depth),
  ]
}

function writeWeb(snippet: Snippet): string[] {
  const image = snippet.inputs.find((input) => input.kind === 'image')
  return [
    "import * as ort from 'onnxruntime-web'",
    '',
    ...(image ? webImage(resolveImage(image.image)) : []),
    ...feedsInJs(snippet),
    `const session = await ort.InferenceSession.create(${quote(snippet.model)})`,
    'const results = await session.run(feeds)',
    ...printOutputs(snippet),
  ]
}

function webImage(p: Pixels): string[] {
  const size =
    p.fit === 'fill'
      ? [`const [width, height] = [${p.columns}, ${p.rows}]`]
      : p.fit === 'line'
        ? [
            `const [width, height] = [Math.min(${p.columns}, Math.ceil((image.width * ${p.rows}) / image.height)), ${p.rows}]`,
          ]
        : [
            `const scale = Math.${p.fit === 'cover' ? 'max' : 'min'}(${p.columns} / image.width, ${p.rows} / image.height)`,
            'const [width, height] = [Math.round(image.width * scale), Math.round(image.height * scale)]',
          ]
  return [
    '// file: a File of an <input type="file">, or a Blob. Canvas resizes in its own way: probabilities differ a little.',
    "const image = await createImageBitmap(file, { imageOrientation: 'from-image', colorSpaceConversion: 'none' })",
    ...size,
    `const context = new OffscreenCanvas(${p.columns}, ${p.rows}).getContext('2d')`,
    "context.imageSmoothingQuality = 'high'",
    ...(p.channels === 4
      ? []
      : [
          `context.fillStyle = 'rgb(${p.background} ${p.background} ${p.background})'`,
          `context.fillRect(0, 0, ${p.columns}, ${p.rows})`,
        ]),
    p.fit === 'line'
      ? 'context.drawImage(image, 0, 0, width, height)'
      : `context.drawImage(image, Math.floor((${p.columns} - width) / 2), Math.floor((${p.rows} - height) / 2), width, height)`,
    `const pixels = context.getImageData(0, 0, ${p.columns}, ${p.rows}).data`,
    ...convertPixels(p, 4),
  ]
}

function writePython(snippet: Snippet): string[] {
  const { inputs, outputs, classes } = snippet
  const { answer = 'class' } = classes ?? {}
  const image = inputs.find((input) => input.kind === 'image')
  const feeds = inputs.map((input) =>
    input.kind === 'image'
      ? `    ${quote(input.name)}: x.reshape(${list([1, ...input.dims])}),`
      : `    ${quote(input.name)}: ${tensorInPython(input.example)},  # an example`,
  )
  return [
    ...(image ? ['import sys'] : []),
    'from pathlib import Path',
    'import numpy as np',
    'import onnxruntime as ort',
    ...(image ? ['from PIL import Image, ImageOps'] : []),
    '',
    ...(image ? pythonImage(resolveImage(image.image)) : []),
    `session = ort.InferenceSession(str(Path(__file__).parent / ${quote(snippet.model)}))  # beside this file`,
    'results = session.run(None, {',
    ...feeds,
    '})',
    ...(classes
      ? [
          `classes = ${JSON.stringify(classes.names)}`,
          // The steps of a text come before or after the axis of the examples.
          answer === 'text'
            ? 'scores = results[0].reshape(-1, len(classes))'
            : 'scores = results[0][0].astype(np.float64)',
          ...(answer === 'text'
            ? pythonText
            : [
                `probabilities = ${
                  {
                    probabilities: 'scores',
                    'log-probabilities': 'np.exp(scores)',
                    logits:
                      answer === 'class'
                        ? 'np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()'
                        : '1 / (1 + np.exp(-scores))',
                  }[classes.scores]
                }`,
                ...(answer === 'labels'
                  ? [
                      "yes = [f'{name} {100 * p:.1f} %' for name, p in zip(classes, probabilities.flat) if p > 0.5]",
                      "print(', '.join(yes) or 'none')",
                    ]
                  : [
                      ...(answer === 'binary'
                        ? ['probabilities = np.array([1 - probabilities.item(), probabilities.item()])']
                        : []),
                      'top = probabilities.argmax()',
                      "print(f'{classes[top]} {100 * probabilities[top]:.1f} %')",
                    ]),
              ]),
        ]
      : outputs.map((name, i) => `print(${quote(name)}, results[${i}].tolist())`)),
  ]
}

const pythonText = [
  'tops = scores.argmax(-1)',
  "print(''.join(classes[top] for i, top in enumerate(tops) if i == 0 or top != tops[i - 1]))",
]

function tensorInPython(tensor: Tensor): string {
  const { dtype, dims, data } = tensor
  const elements = dtype === 'float16' || dtype === 'bfloat16' ? numbersOf(tensor) : data
  const values = Array.from(elements as ArrayLike<number | bigint | string>, (value) => {
    if (typeof value === 'string') return quote(value)
    if (typeof value === 'bigint' || Number.isFinite(value)) return String(value)
    return Number.isNaN(value) ? 'np.nan' : value > 0 ? 'np.inf' : '-np.inf'
  })
  return `np.array(${list(values)}, ${quote(dtype === 'string' ? 'object' : dtype)}).reshape(${list(dims)})`
}

function pythonImage(p: Pixels): string[] {
  const size = `(${p.columns}, ${p.rows})`
  const ground = Math.round(p.background) // PIL takes integers
  const color = `(${Array.from({ length: p.channels === 4 ? 4 : 3 }, () => ground).join(', ')})`
  const resized = {
    fill: `image.resize(${size}, Image.BILINEAR)`,
    cover: `ImageOps.fit(image, ${size}, Image.BILINEAR)`,
    contain: `ImageOps.pad(image, ${size}, Image.BILINEAR, color=${color})`,
    line: 'line',
  }[p.fit]
  const isGray = p.channels === 1
  return [
    "image = ImageOps.exif_transpose(Image.open(sys.argv[1] if len(sys.argv) > 1 else 'photo.jpg'))",
    ...(p.channels === 4
      ? ["image = image.convert('RGBA')"]
      : [
          `ground = Image.new('RGBA', image.size, (${ground}, ${ground}, ${ground}, 255))`,
          "image = Image.alpha_composite(ground, image.convert('RGBA')).convert('RGB')",
        ]),
    ...(p.fit === 'line'
      ? [
          `line = Image.new(image.mode, ${size}, ${color})`,
          `columns = min(${p.columns}, -(-image.width * ${p.rows} // image.height))`,
          `line.paste(image.resize((columns, ${p.rows}), Image.BILINEAR))`,
        ]
      : []),
    `pixels = np.asarray(${resized}, np.float64)`,
    ...(p.reversed ? ['pixels = pixels[..., ::-1]'] : []),
    ...(isGray ? ['pixels = (pixels @ [0.299, 0.587, 0.114])[..., None]'] : []),
    `x = ((pixels * ${formatScale(p.scale)} - ${list(p.mean)}) / ${list(p.std)}).astype(np.float32)`,
    ...(p.planar ? ['x = x.transpose(2, 0, 1)'] : []),
  ]
}
