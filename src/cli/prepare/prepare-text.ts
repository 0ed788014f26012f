import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { encodeTokenHeader } from '../../data/formats/token-file.js'
import { Tokenizer, tokenizerJson, WordCounts } from '../../data/tokenize/tokenizer.js'
import { BpeTrainer } from '../../data/tokenize/train-bpe.js'
import { type DocumentOptions, encodeDocuments, iterateDocuments, listCorpusFiles } from '../../node/data/documents.js'
import { encodeTokens, readTokenizer } from '../../node/data/tokens.js'
import { readRegularFile } from '../../node/files/files.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import { emptyRecord } from '../../util/record.js'
import { prepareOutputs } from '../outputs.js'
import type { Monitor } from './preparation.js'
import { Preparation, type PreparedPart, preparedFiles, type Report, sha256 } from './preparation.js'

/** Options of `prepareText`. */
export interface TextOptions extends DocumentOptions {
  readonly inputs: readonly string[]
  readonly output: string
  /** Number of tokens to learn, if no tokenizer is given. */
  readonly vocabulary: number
  /** Path of a tokenizer.json to use. */
  readonly tokenizer?: string | undefined
  /** Largest number of characters to learn the vocabulary from; the first ones are taken. */
  readonly learnFrom: number
  /** Token after each document; null for no token. Default: the first common end token that the tokenizer has. */
  readonly separator?: string | null | undefined
  /** Fraction of the documents for validation. */
  readonly validation: number
  readonly validationInputs: readonly string[]
  readonly seed: number
  readonly force?: boolean | undefined
  /** Characters per part, the unit that is repeated after an interruption. Default 2^24. */
  readonly partCharacters?: number | undefined
}

/** Content of `report.json` of a text data set. */
export interface TextReport extends Report {
  readonly kind: 'text'
  readonly vocabulary: number
  /** Token after each document. */
  readonly separator: string | null
  readonly characters: number
  readonly parts: Readonly<Record<string, Counts>>
}

/** Size of a token file. */
interface Counts {
  readonly documents: number
  readonly tokens: number
}

/** Facts about a part, stored with its files. */
interface PartInfo {
  readonly counts: Readonly<Record<SplitName, Counts>>
  readonly characters: number
  /** Position of the next part; null after the last part. */
  readonly next: Position | null
}

type SplitName = 'train' | 'validation'

/** End tokens of common tokenizers, in order of preference. */
const separators = ['<|endoftext|>', '</s>', '<eos>', '<|end_of_text|>', '[SEP]']

/** Encodes text to token files: `train.tokens`, `validation.tokens`, `tokenizer.json` and `report.json`. */
export async function prepareText(options: TextOptions, monitor: Monitor): Promise<TextReport> {
  const { field, document, seed, validation, validationInputs, separator, force, partCharacters = 2 ** 24 } = options
  const corpus = await Corpus.open(options.inputs, { field, document })
  const validationCorpus = validationInputs.length > 0 ? await Corpus.open(validationInputs, { field, document }) : null
  const givenTokenizer = options.tokenizer === undefined ? null : await readTokenizerJson(options.tokenizer)
  await prepareOutputs(
    preparedFiles(options.output, ['train.tokens', 'validation.tokens', 'tokenizer.json']),
    async () => [
      ...corpus.paths,
      ...(validationCorpus?.paths ?? []),
      ...(options.tokenizer === undefined ? [] : [options.tokenizer]),
    ],
  )
  const plan = {
    kind: 'text',
    inputs: await corpus.fingerprint(),
    validationInputs: (await validationCorpus?.fingerprint()) ?? [],
    tokenizer:
      givenTokenizer === null
        ? { vocabulary: options.vocabulary, learnFrom: options.learnFrom }
        : sha256(givenTokenizer),
    options: { field, document, separator, validation, seed, partCharacters },
  }
  const preparation = await Preparation.open(options.output, plan, { force })
  if (!(preparation instanceof Preparation)) return preparation as TextReport // written by `finish` below
  const json = givenTokenizer ?? (await learnTokenizer(preparation, corpus, options, monitor))
  const tokenizer = new Tokenizer(JSON.parse(json))
  const ending = selectSeparator(tokenizer, separator)
  const encoder = { tokenizer, ending: ending === null ? null : tokenizer.numberOf(ending)! }
  const common = { seed, partCharacters }
  monitor.stage('encoding text', corpus.bytes + (validationCorpus?.bytes ?? 0))
  const parts = await encodeCorpus(
    preparation,
    corpus,
    encoder,
    { ...common, name: 'inputs', share: validation, previousBytes: 0 },
    monitor,
  )
  if (validationCorpus)
    parts.push(
      ...(await encodeCorpus(
        preparation,
        validationCorpus,
        encoder,
        { ...common, name: 'held', share: 1, previousBytes: corpus.bytes },
        monitor,
      )),
    )
  const counts = countSplits(parts, validation > 0 || validationCorpus !== null)
  for (const [name, { tokens }] of Object.entries(counts)) {
    const header = encodeTokenHeader({ vocabulary: tokenizer.vocabulary, tokens })
    const files = parts.flatMap(({ files }) => Object.keys(files).filter((file) => file.endsWith(`.${name}`)))
    await preparation.assemble(`${name}.tokens`, header, files)
  }
  await preparation.write('tokenizer.json', json)
  return preparation.finish({
    kind: 'text' as const,
    vocabulary: tokenizer.vocabulary,
    separator: ending,
    characters: parts.reduce((sum, { info }) => sum + info.characters, 0),
    parts: counts,
  })
}

async function readTokenizerJson(path: string): Promise<string> {
  await readTokenizer(path) // throws if the file is not a tokenizer
  return (await readRegularFile('tokenizer', path)).toString()
}

async function learnTokenizer(
  preparation: Preparation,
  corpus: Corpus,
  { vocabulary, learnFrom }: TextOptions,
  monitor: Monitor,
): Promise<string> {
  const { info } = await preparation.makePart('tokenizer', async () => {
    monitor.stage('counting words', Math.min(corpus.bytes, learnFrom))
    async function* texts() {
      let characters = 0
      for await (const { text, bytes } of corpus.documents()) {
        yield text
        characters += text.length
        monitor.at(Math.min(bytes, learnFrom))
        if (characters >= learnFrom) return
      }
    }
    return { files: {}, info: await trainTokenizer(texts(), vocabulary, monitor) }
  })
  return info
}

function selectSeparator(tokenizer: Tokenizer, requested: string | null | undefined): string | null {
  if (requested === null) return null
  const found = (requested === undefined ? separators : [requested]).find(
    (token) => tokenizer.numberOf(token) !== undefined,
  )
  if (found !== undefined) return found
  throw new OnnxIreError(
    'invalid-option',
    `the tokenizer has no token ${requested === undefined ? separators.join(', ') : `'${requested}'`} to put after documents; name a token with --separator, or use --no-separator; its special tokens: ${tokenizer.specialTokens.join(', ') || 'none'}`,
  )
}

/** A tokenizer, and how documents are separated. */
interface Encoder {
  readonly tokenizer: Tokenizer
  /** Token after each document, if any. */
  readonly ending: number | null
}

/** Encoding of the documents of one corpus. */
interface Section {
  readonly name: string
  /** Probability of each document to go to the validation split. */
  readonly share: number
  readonly seed: number
  readonly partCharacters: number
  /** Bytes of the corpora before this one, for the progress. */
  readonly previousBytes: number
}

/** Encodes a corpus in parts. Each part begins at the position that the part before it recorded. */
async function encodeCorpus(
  preparation: Preparation,
  corpus: Corpus,
  encoder: Encoder,
  section: Section,
  monitor: Monitor,
) {
  const parts: PreparedPart<PartInfo>[] = []
  for (let position: Position | null = { file: 0, document: 0 }; position; ) {
    const name: string = `${section.name}-${String(parts.length).padStart(5, '0')}`
    const from: Position = position
    const random = new Random(section.seed).stream('validation').stream(name)
    const isValidation = () => section.share === 1 || (section.share > 0 && random.uniform() < section.share)
    const part: PreparedPart<PartInfo> = await preparation.makePart(name, () =>
      encodePart(name, corpus, from, encoder, section, isValidation, monitor),
    )
    parts.push(part)
    position = part.info.next
  }
  return parts
}

async function encodePart(
  name: string,
  corpus: Corpus,
  from: Position,
  { tokenizer, ending }: Encoder,
  section: Section,
  isValidation: () => boolean,
  monitor: Monitor,
) {
  const tokens: Record<SplitName, Uint8Array[]> = { train: [], validation: [] }
  const documents: Record<SplitName, number> = { train: 0, validation: 0 }
  const counts: Record<SplitName, number> = { train: 0, validation: 0 }
  let characters = 0
  let next: Position | null = null
  for await (const { document, encoded } of encodeDocuments(tokenizer, corpus.documents(from))) {
    if (ending !== null) encoded.push(ending)
    const to: SplitName = isValidation() ? 'validation' : 'train'
    tokens[to].push(encodeTokens(encoded, tokenizer.vocabulary))
    documents[to]++
    counts[to] += encoded.length
    characters += document.text.length
    monitor.at(section.previousBytes + document.bytes)
    if (characters >= section.partCharacters) {
      next = document.next
      break
    }
  }
  const names = (['train', 'validation'] as const).filter((each) => documents[each] > 0)
  const info: PartInfo = {
    counts: {
      train: { documents: documents.train, tokens: counts.train },
      validation: { documents: documents.validation, tokens: counts.validation },
    },
    characters,
    next,
  }
  return { files: Object.fromEntries(names.map((each) => [`${name}.${each}`, Buffer.concat(tokens[each])])), info }
}

/** Documents and tokens of the splits that have any. Throws if `train`, or a requested validation split, has none. */
function countSplits(
  parts: readonly { readonly info: PartInfo }[],
  validates: boolean,
): Readonly<Record<string, Counts>> {
  const counts: Record<string, Counts> = emptyRecord()
  for (const name of ['train', 'validation'] as const) {
    const documents = parts.reduce((sum, { info }) => sum + info.counts[name].documents, 0)
    const tokens = parts.reduce((sum, { info }) => sum + info.counts[name].tokens, 0)
    if (documents > 0) counts[name] = { documents, tokens }
    else if (name === 'train' || validates) throw emptySplitError(name, parts)
  }
  return counts
}

function emptySplitError(name: SplitName, parts: readonly { readonly info: PartInfo }[]): OnnxIreError {
  const { train, validation } = parts.reduce(
    (sum, { info: { counts } }) => ({
      train: sum.train + counts.train.documents,
      validation: sum.validation + counts.validation.documents,
    }),
    { train: 0, validation: 0 },
  )
  const all = train + validation
  return new OnnxIreError(
    'invalid-data',
    all === 0
      ? 'the inputs contain no text'
      : `${all === 1 ? 'the only document was not' : `none of the ${all} documents was`} selected for ${name}; change --validation, split the text into more documents with --document line or paragraph, or give --validation-input`,
  )
}

/** Milliseconds between two returns to the event loop, for progress and signals. */
const sliceMilliseconds = 50

/** Trains a byte-level BPE tokenizer; returns the content of its tokenizer.json. */
async function trainTokenizer(texts: AsyncIterable<string>, vocabulary: number, monitor: Monitor): Promise<string> {
  const words = new WordCounts()
  for await (const text of texts) words.add(text)
  if (words.size === 0)
    throw new OnnxIreError(
      'invalid-data',
      'the inputs contain no text: name files with text, or its field with --field',
    )
  const trainer = new BpeTrainer(words, { vocabulary })
  const initial = trainer.size
  monitor.stage('learning the vocabulary', vocabulary - initial)
  let sliceEnd = performance.now() + sliceMilliseconds
  while (trainer.merge()) {
    if (performance.now() < sliceEnd) continue
    monitor.at(trainer.size - initial)
    await setImmediate()
    sliceEnd = performance.now() + sliceMilliseconds
  }
  if (trainer.size < vocabulary)
    monitor.note(`the vocabulary has ${trainer.size} tokens only: no other pair of tokens occurs twice in the text`)
  return `${JSON.stringify(tokenizerJson(trainer.vocabulary()), null, 1)}\n`
}

/** Position of a document: the index of its file, and its index within the file. */
interface Position {
  readonly file: number
  readonly document: number
}

/** A document of a corpus and its position. */
interface CorpusDocument {
  readonly text: string
  /** Position of the next document. */
  readonly next: Position
  /** Estimated bytes of files read so far; for a compressed file the length of its text, up to the size of the file. */
  readonly bytes: number
}

/** Text files as one sequence of documents, which can be read from any position. */
class Corpus {
  readonly #files: readonly { readonly path: string; readonly bytes: number }[]
  readonly #options: DocumentOptions

  private constructor(files: readonly { readonly path: string; readonly bytes: number }[], options: DocumentOptions) {
    this.#files = files
    this.#options = options
  }

  static async open(paths: readonly string[], options: DocumentOptions): Promise<Corpus> {
    return new Corpus(await listCorpusFiles(paths), options)
  }

  get paths(): readonly string[] {
    return this.#files.map(({ path }) => path)
  }

  get bytes(): number {
    return this.#files.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Identifies the files: paths, sizes and times of modification. */
  async fingerprint(): Promise<readonly object[]> {
    return Promise.all(
      this.#files.map(async ({ path, bytes }) => ({ path: resolve(path), bytes, changed: (await stat(path)).mtimeMs })),
    )
  }

  /** Iterates over the documents from a position on. */
  async *documents(from: Position = { file: 0, document: 0 }): AsyncGenerator<CorpusDocument, void, undefined> {
    let previousBytes = this.#files.slice(0, from.file).reduce((sum, { bytes }) => sum + bytes, 0)
    for (let file = from.file; file < this.#files.length; file++) {
      const { path, bytes } = this.#files[file]!
      const skipped = file === from.file ? from.document : 0
      let [document, read] = [0, 0]
      for await (const text of iterateDocuments(path, this.#options)) {
        document++
        read += text.length
        if (document <= skipped) continue
        yield { text, next: { file, document }, bytes: previousBytes + Math.min(read, bytes) }
      }
      previousBytes += bytes
    }
  }
}
