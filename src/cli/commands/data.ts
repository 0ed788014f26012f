import { type Command, InvalidArgumentError, Option } from 'commander'
import type { ImageFit } from '../../data/image/bilinear.js'
import type { DocumentOptions } from '../../node/data/documents.js'
import { refuseOptions, usageError } from '../errors.js'
import { formatBytes, formatNumber, formatTable } from '../format.js'
import { dtypeOption, openLanguageModel } from '../inputs/open-language-model.js'
import { readDataRows } from '../inputs/text-rows.js'
import { type Io, print } from '../io.js'
import { formatExamples, jsonOption, parseFraction, parseNonNegativeInteger, parsePositiveInteger } from '../options.js'
import type { ImageReport } from '../prepare/image-set.js'
import { runPreparation } from '../prepare/preparation.js'
import { prepareCifar, prepareImages } from '../prepare/prepare-images.js'
import { prepareText, type TextReport } from '../prepare/prepare-text.js'
import { type TuningMethod, tuningMethods } from '../tuning/chat-tuning-data.js'
import { formatShown, showExamples } from '../tuning/show-examples.js'

interface CommonOptions {
  readonly output: string
  readonly force?: true
  readonly quiet?: true
  readonly json?: true
}

interface TextOptions extends CommonOptions {
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

interface ImageOptions extends CommonOptions {
  readonly size: readonly [number, number]
  readonly fit: ImageFit
  readonly gray?: true
  /** The earlier spelling. */
  readonly grey?: true
  readonly validation?: number
  readonly seed: number
}

/** Defines `onnx-ire data`. */
export function defineData(program: Command, io: Io): void {
  const data = program
    .command('data')
    .description('prepare data sets, and show chat data')
    .addHelpText(
      'after',
      formatExamples(
        'onnx-ire data prepare text corpus.txt -o corpus',
        'onnx-ire data show SmolLM2-135M-Instruct support.jsonl',
      ),
    )
  const prepare = data
    .command('prepare')
    .description('convert a data set once, with checks, to files that training reads fast')
    .addHelpText(
      'after',
      `
Every preparation writes report.json last: counts, sizes and SHA-256 checksums of its files. Run the same
command again to resume an interrupted preparation after its last finished part; a complete data set is left
unchanged.
${formatExamples(
  'onnx-ire data prepare text corpus.txt -o corpus',
  'onnx-ire data prepare images flowers --size 64 -o flowers-64',
  'onnx-ire data prepare cifar cifar-10-batches-bin -o cifar-10',
)}`,
    )
  defineText(prepare, io)
  defineImages(prepare, io)
  defineCifar(prepare, io)
  defineShow(data, io)
}

function addCommonOptions(command: Command): void {
  command
    .requiredOption('-o, --output <folder>', 'folder of the data set')
    .option('--force', 'replace the data set in the folder')
    .option('--quiet', 'show no progress')
    .addOption(jsonOption())
}

function defineText(prepare: Command, io: Io): void {
  const command = prepare
    .command('text')
    .description('convert text to token files: train.tokens, validation.tokens and tokenizer.json')
    .argument(
      '<input...>',
      'files or folders: text, JSON lines (.jsonl, .ndjson) or parquet; text and JSON lines may be gzipped',
    )
    .option('--field <name>', 'field of JSON lines, or column of parquet, that holds the text', 'text')
    .addOption(
      new Option('--document <unit>', 'unit of plain text that is a document; large files are split at line ends')
        .choices(['file', 'line', 'paragraph'])
        .default('file'),
    )
    .option('--vocabulary <n>', 'number of tokens to learn, by byte-level BPE', parsePositiveInteger, 8192)
    .option('--tokenizer <file>', 'use this tokenizer.json and learn no vocabulary')
    .option(
      '--learn-from <characters>',
      'learn the vocabulary from at most so much text',
      parsePositiveInteger,
      2 ** 30,
    )
    .option('--separator <token>', 'token after each document (default: the end-of-text token of the tokenizer)')
    .option('--no-separator', 'put no token between documents')
    .option('--validation <fraction>', 'random documents for validation (default: 0.01)', parseFraction)
    .option('--validation-input <path...>', 'files or folders for validation, in place of random documents')
    .option('--seed <n>', 'seed of the random selection', parseNonNegativeInteger, 0)
  addCommonOptions(command)
  const separators = new Set<string>()
  for (const name of ['separator', 'no-separator']) command.on(`option:${name}`, () => separators.add(name))
  command
    .addHelpText(
      'after',
      `
Token files hold uint16 (uint32 for a vocabulary above 65,536). Training reads them in windows, so they may be
larger than memory.

Examples:
  $ onnx-ire data prepare text wiki.train.tokens --validation-input wiki.valid.tokens -o wikitext
  $ onnx-ire data prepare text corpus/*.jsonl.gz --field text --vocabulary 32000 -o corpus
  $ onnx-ire data prepare text minipile --tokenizer tokenizer.json -o minipile-tokens`,
    )
    .action(async (inputs: string[], options: TextOptions) => {
      if (options.tokenizer !== undefined)
        refuseOptions(command, ['vocabulary', 'learnFrom'], 'is for a new tokenizer: omit it, or --tokenizer')
      if (options.validationInput)
        refuseOptions(command, ['validation'], 'is for random documents: omit it, or --validation-input')
      if (separators.size > 1)
        usageError(command, '--separator and --no-separator contradict each other: give one of them')
      const { validationInput: validationInputs = [], separator, output, ...others } = options
      const request = {
        ...others,
        inputs,
        output,
        validation: options.validation ?? (validationInputs.length > 0 ? 0 : 0.01),
        validationInputs,
        separator: separator === false ? null : typeof separator === 'string' ? separator : undefined,
      }
      await runPreparation(io, options, async (monitor) => {
        const report = await prepareText(request, monitor)
        print(io, report, options.json, () => formatTextReport(report, output))
      })
    })
}

function defineImages(prepare: Command, io: Io): void {
  const command = prepare
    .command('images')
    .description('convert a folder of images to IDX files of one size: train-images.idx, train-labels.idx and so on')
    .argument('<folder>', 'a folder with a sub-folder per class, or with train and val (validation, test) of this form')
    .addOption(new Option('--size <rowsxcolumns>', 'such as 224 or 224x160').argParser(parseSize).makeOptionMandatory())
    .addOption(
      new Option('--fit <method>', 'how images of another shape are resized')
        .choices(['fill', 'contain', 'cover', 'none'])
        .default('fill'),
    )
    .option('--gray', 'one channel in place of RGB')
    .addOption(new Option('--grey', 'as --gray').hideHelp())
    .option('--validation <fraction>', 'random images for validation, if the folder has none', parseFraction)
    .option('--seed <n>', 'seed of the random selection', parseNonNegativeInteger, 0)
  addCommonOptions(command)
  command
    .addHelpText(
      'after',
      `
The report contains the mean and standard deviation of the pixels, for normalization.

Examples:
  $ onnx-ire data prepare images flowers --size 64 --validation 0.1 -o flowers-64
  $ onnx-ire data prepare images imagenette --size 160 -o imagenette-160`,
    )
    .action(async (folder: string, { gray, grey, ...options }: ImageOptions) => {
      const request = { validation: 0, ...options, folder, channels: gray || grey ? (1 as const) : (3 as const) }
      await runPreparation(io, options, async (monitor) => {
        const report = await prepareImages(request, monitor)
        print(io, report, options.json, () => formatImageReport(report, options.output))
      })
    })
}

function defineCifar(prepare: Command, io: Io): void {
  const command = prepare
    .command('cifar')
    .description('convert CIFAR-10 or CIFAR-100 to IDX files: train-images.idx, train-labels.idx and so on')
    .argument('<folder>', 'folder of the unpacked binary version: cifar-10-batches-bin or cifar-100-binary')
  addCommonOptions(command)
  command
    .addHelpText('after', formatExamples('onnx-ire data prepare cifar cifar-10-batches-bin -o cifar-10'))
    .action(async (folder: string, options: CommonOptions) => {
      await runPreparation(io, options, async (monitor) => {
        const report = await prepareCifar({ ...options, folder }, monitor)
        print(io, report, options.json, () => formatImageReport(report, options.output))
      })
    })
}

interface ShowOptions {
  readonly dtype?: string
  readonly method?: TuningMethod
  readonly examples: number
  readonly length?: number
  readonly loss: 'assistant' | 'all'
  readonly json?: true
}

function defineShow(data: Command, io: Io): void {
  data
    .command('show')
    .description('show chat data as a language model reads them, with [[ ]] around what it learns')
    .argument('<folder>', 'folder of a language model, as for transformers.js')
    .argument('<data>', 'conversations: a JSON object per line, or a .csv or .tsv file')
    .addOption(dtypeOption())
    .addOption(
      new Option(
        '--method <method>',
        'as in tune chat (default: dpo if all rows have a rejected answer, else sft)',
      ).choices(tuningMethods),
    )
    .option('--examples <n>', 'number of examples to show', parsePositiveInteger, 3)
    .option(
      '--length <tokens>',
      'longest example; the rest is cut (default: 1,024, or the context of the model if it is shorter)',
      parsePositiveInteger,
    )
    .addOption(
      new Option('--loss <tokens>', 'tokens that are learned').choices(['assistant', 'all']).default('assistant'),
    )
    .addOption(jsonOption())
    .addHelpText('after', formatExamples('onnx-ire data show SmolLM2-135M-Instruct support.jsonl'))
    .action(async (folder: string, path: string, { dtype, json, ...options }: ShowOptions) => {
      const chat = await openLanguageModel(folder, dtype)
      const shown = showExamples(await readDataRows(path), chat, options)
      print(io, shown, json, () => formatShown(shown))
    })
}

/** Parses an image size: `224` or `224x160`. */
function parseSize(text: string): [number, number] {
  const [rows, columns = rows] = text.split('x').map(Number)
  if (/^[1-9]\d{0,4}(x[1-9]\d{0,4})?$/.test(text)) return [rows!, columns!]
  throw new InvalidArgumentError('It must be a number of pixels, or rows x columns, such as 224x160.')
}

function formatTextReport({ vocabulary, separator, characters, parts, files }: TextReport, output: string): string {
  const rows = Object.entries(parts).map(([name, { documents, tokens }]) => [`${name}.tokens`, documents, tokens])
  const perToken = characters / Object.values(parts).reduce((sum, { tokens }) => sum + tokens, 0)
  return [
    `${output}: vocabulary ${formatNumber(vocabulary)}, ${separator === null ? 'nothing' : `'${separator}'`} after each document, ${perToken.toFixed(2)} characters per token`,
    formatTable(['', 'documents', 'tokens'], rows),
    formatFiles(files),
  ].join('\n')
}

function formatImageReport({ size, classes, parts, mean, std, files }: ImageReport, output: string): string {
  const rows = Object.entries(parts).map(([name, { images, perClass }]) => [
    name,
    images,
    `${formatNumber(Math.min(...perClass))} to ${formatNumber(Math.max(...perClass))}`,
  ])
  const channels = (values: readonly number[]) => values.map((value) => value.toFixed(4)).join(', ')
  return [
    `${output}: images of ${size[0]} x ${size[1]} x ${size[2]}, ${formatNumber(classes.length)} ${classes.length === 1 ? 'class' : 'classes'}`,
    formatTable(['', 'images', 'per class'], rows),
    `mean [${channels(mean)}], std [${channels(std)}]`,
    formatFiles(files),
  ].join('\n')
}

const formatFiles = (files: TextReport['files']): string =>
  formatTable(
    ['file', 'size', 'SHA-256'],
    Object.entries(files).map(([name, { bytes, sha256 }]) => [name, formatBytes(bytes), sha256]),
  )
