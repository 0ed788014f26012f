import { type Command, InvalidArgumentError, Option } from 'commander'
import type { ImageFit } from '../../data/image/bilinear.js'
import type { DocumentOptions } from '../../node/data/documents.js'
import { type Io, print } from '../io.js'
import { parsePositiveInteger } from '../options.js'
import type { ImageReport } from '../prepare/image-set.js'
import { monitored } from '../prepare/monitor.js'
import { prepareCifar } from '../prepare/prepare-cifar.js'
import { prepareImages } from '../prepare/prepare-images.js'
import { prepareText, type TextReport } from '../prepare/prepare-text.js'
import { formatBytes, formatNumber, formatTable } from '../text/format.js'

interface Common {
  readonly output: string
  readonly force?: true
  readonly quiet?: true
  readonly json?: true
}

interface TextFlags extends Common {
  readonly field: string
  readonly document: NonNullable<DocumentOptions['document']>
  readonly vocabulary: number
  readonly tokenizer?: string
  readonly learnFrom: number
  /** False with --no-separator. */
  readonly separator?: string | boolean
  readonly validation?: number
  readonly validationInput?: readonly string[]
  readonly seed: number
}

interface ImageFlags extends Common {
  readonly size: readonly [number, number]
  readonly fit: ImageFit
  readonly grey?: true
  readonly validation?: number
  readonly seed: number
}

export function defineData(program: Command, io: Io): void {
  const data = program.command('data').description('make data sets')
  const prepare = data
    .command('prepare')
    .description('build a data set: once, checked, in a form that training reads fast')
    .addHelpText(
      'after',
      `
Each writes report.json: counts, sizes and SHA-256 checksums of what it made. It is written last. A preparation that was
interrupted goes on from its last finished part when the same command is given again; one that is done does nothing.`,
    )
  defineText(prepare, io)
  defineImages(prepare, io)
  defineCifar(prepare, io)
}

const common = (command: Command): Command =>
  command
    .requiredOption('-o, --output <folder>', 'where the data set goes')
    .option('--force', 'replace the data set that is there')
    .option('--quiet', 'no progress')
    .option('--json', 'write JSON to standard output')

function defineText(prepare: Command, io: Io): void {
  const command = prepare
    .command('text')
    .description('text to token files: train.tokens, validation.tokens and tokenizer.json')
    .argument(
      '<input...>',
      'files or folders: text, JSON lines (.jsonl, .ndjson) or parquet; all but that may be gzipped',
    )
    .option('--field <name>', 'the field of JSON lines, or column of parquet, that holds the text', 'text')
    .addOption(
      new Option('--document <unit>', 'what is a document in plain text; large files are cut at line ends')
        .choices(['file', 'line', 'paragraph'])
        .default('file'),
    )
    .option('--vocabulary <n>', 'tokens to learn, by byte-level BPE', parsePositiveInteger, 8192)
    .option('--tokenizer <file>', 'use this tokenizer.json instead of learning one')
    .option('--learn-from <characters>', 'text to learn the vocabulary from, at most', parsePositiveInteger, 2 ** 30)
    .option('--separator <token>', "the token after each document (default: the tokenizer's own end of text)")
    .option('--no-separator', 'put nothing between documents')
    .option('--validation <share>', 'documents to hold out, drawn at random (default: 0.01)', share)
    .option('--validation-input <path...>', 'hold these out instead')
    .option('--seed <n>', 'decides which documents are held out', seed, 0)
  common(command)
    .addHelpText(
      'after',
      `
Token files hold uint16 (uint32 for a vocabulary above 65,536) and are read in windows, so they may be larger than memory.

Examples:
  $ onnx-ire data prepare text wiki.train.tokens --validation-input wiki.valid.tokens -o wikitext
  $ onnx-ire data prepare text corpus/*.jsonl.gz --field text --vocabulary 32000 -o corpus
  $ onnx-ire data prepare text minipile --tokenizer tokenizer.json -o minipile-tokens`,
    )
    .action(async (inputs: string[], options: TextFlags) => {
      const { validationInput = [], separator, output, ...given } = options
      const validation = options.validation ?? (validationInput.length > 0 ? 0 : 0.01)
      const ending = separator === false ? null : typeof separator === 'string' ? separator : undefined
      const asked = { ...given, inputs, output, validation, validationInputs: validationInput, separator: ending }
      await monitored(io, options, async (monitor) => {
        const report = await prepareText(asked, monitor)
        print(io, report, options.json, () => textOf(report, output))
      })
    })
}

function defineImages(prepare: Command, io: Io): void {
  const command = prepare
    .command('images')
    .description('a folder of images per class to IDX files of one size: train-images.idx, train-labels.idx and so on')
    .argument('<folder>', 'with a sub-folder per class, or with train and val (validation, test) that are so')
    .addOption(new Option('--size <rowsxcolumns>', 'such as 224 or 224x160').argParser(size).makeOptionMandatory())
    .addOption(
      new Option('--fit <how>', 'how images of another shape get there')
        .choices(['fill', 'contain', 'cover', 'none'])
        .default('cover'),
    )
    .option('--grey', 'one channel instead of RGB')
    .option('--validation <share>', 'images to hold out, drawn at random, where the folder has no such part', share)
    .option('--seed <n>', 'decides which images are held out', seed, 0)
  common(command)
    .addHelpText(
      'after',
      `
The report gives the mean and standard deviation of the pixels, to normalise by.

Examples:
  $ onnx-ire data prepare images flowers --size 64 --validation 0.1 -o flowers-64
  $ onnx-ire data prepare images imagenette --size 160 -o imagenette-160`,
    )
    .action(async (folder: string, { grey, ...options }: ImageFlags) => {
      const channels = grey ? 1 : 3
      await monitored(io, options, async (monitor) => {
        const report = await prepareImages({ validation: 0, ...options, folder, channels }, monitor)
        print(io, report, options.json, () => imagesText(report, options.output))
      })
    })
}

function defineCifar(prepare: Command, io: Io): void {
  const command = prepare
    .command('cifar')
    .description(
      'CIFAR-10 or CIFAR-100 to IDX files: train-images.idx, train-labels.idx, test-images.idx, test-labels.idx',
    )
    .argument('<folder>', 'of the binary version, unpacked: cifar-10-batches-bin or cifar-100-binary')
  common(command)
    .addHelpText('after', '\nExamples:\n  $ onnx-ire data prepare cifar cifar-10-batches-bin -o cifar-10')
    .action(async (folder: string, options: Common) => {
      await monitored(io, options, async (monitor) => {
        const report = await prepareCifar({ ...options, folder }, monitor)
        print(io, report, options.json, () => imagesText(report, options.output))
      })
    })
}

function share(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && value < 1) return value
  throw new InvalidArgumentError('It must be a share from 0 up to but without 1.')
}

function seed(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new InvalidArgumentError('It must be a whole number from 0 on.')
}

function size(text: string): [number, number] {
  const [rows, columns = rows] = text.split('x').map(Number)
  if (/^[1-9]\d{0,4}(x[1-9]\d{0,4})?$/.test(text)) return [rows!, columns!]
  throw new InvalidArgumentError('It must be a number of pixels, or rows x columns such as 224x160.')
}

function textOf({ vocabulary, separator, characters, parts, files }: TextReport, output: string): string {
  const rows = Object.entries(parts).map(([name, { documents, tokens }]) => [`${name}.tokens`, documents, tokens])
  const perToken = characters / Object.values(parts).reduce((sum, { tokens }) => sum + tokens, 0)
  return [
    `wrote ${output}: vocabulary ${formatNumber(vocabulary)}, ${separator === null ? 'nothing' : `'${separator}'`} after each document, ${perToken.toFixed(2)} characters per token`,
    formatTable(['', 'documents', 'tokens'], rows),
    filesText(files),
  ].join('\n')
}

function imagesText({ size, classes, parts, mean, std, files }: ImageReport, output: string): string {
  const rows = Object.entries(parts).map(([name, { images, perClass }]) => [
    name,
    images,
    `${formatNumber(Math.min(...perClass))} to ${formatNumber(Math.max(...perClass))}`,
  ])
  const channels = (values: readonly number[]) => values.map((value) => value.toFixed(4)).join(', ')
  return [
    `wrote ${output}: images of ${size[0]} x ${size[1]} x ${size[2]}, ${formatNumber(classes.length)} ${classes.length === 1 ? 'class' : 'classes'}`,
    formatTable(['', 'images', 'per class'], rows),
    `mean [${channels(mean)}], std [${channels(std)}]`,
    filesText(files),
  ].join('\n')
}

const filesText = (files: TextReport['files']): string =>
  formatTable(
    ['file', 'size', 'SHA-256'],
    Object.entries(files).map(([name, { bytes, sha256 }]) => [name, formatBytes(bytes), sha256]),
  )
