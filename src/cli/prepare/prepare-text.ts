import { readFile } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { encodeTokenHeader } from '../../data/formats/token-file.js'
import { Tokenizer } from '../../data/tokenize/tokenizer.js'
import { tokenizerJson } from '../../data/tokenize/tokenizer-json.js'
import { BpeTrainer } from '../../data/tokenize/train-bpe.js'
import { WordCounts } from '../../data/tokenize/words.js'
import type { DocumentOptions } from '../../node/data/documents.js'
import { readTokenizer, tokensAsBytes } from '../../node/data/tokens.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import { Corpus, type Position } from './corpus.js'
import type { Monitor } from './monitor.js'
import { type Part, Preparation, type Report, sha256 } from './preparation.js'

export interface TextOptions extends DocumentOptions {
  readonly inputs: readonly string[]
  readonly output: string
  /** Tokens to learn, where no tokenizer is given. */
  readonly vocabulary: number
  readonly tokenizer?: string | undefined
  /** Characters that the vocabulary is learnt from, at most: the first ones. */
  readonly learnFrom: number
  /** The token after each document; null for none. Default: the first of those usual that the tokenizer has. */
  readonly separator?: string | null | undefined
  /** Share of the documents that is held out. */
  readonly validation: number
  readonly validationInputs: readonly string[]
  readonly seed: number
  readonly force?: boolean | undefined
  /** Characters of a part: what may have to be done again after an interruption. Default 2^24. */
  readonly partCharacters?: number | undefined
}

export interface TextReport extends Report {
  readonly kind: 'text'
  readonly vocabulary: number
  /** The token after each document. */
  readonly separator: string | null
  readonly characters: number
  readonly parts: Readonly<Record<string, Counts>>
}

/** Of a token file. */
interface Counts {
  readonly documents: number
  readonly tokens: number
}

interface PartInfo {
  readonly counts: Readonly<Record<Name, Counts>>
  readonly characters: number
  /** Where the next part begins; null after the last. */
  readonly next: Position | null
}

type Name = 'train' | 'validation'

const separators = ['<|endoftext|>', '</s>', '<eos>', '<|end_of_text|>', '[SEP]']

/** Turns text into token files: `train.tokens`, `validation.tokens`, `tokenizer.json` and `report.json`. */
export async function prepareText(options: TextOptions, monitor: Monitor): Promise<TextReport> {
  const { field, document, seed, validation, validationInputs, separator, force, partCharacters = 2 ** 24 } = options
  const corpus = await Corpus.open(options.inputs, { field, document })
  const held = validationInputs.length > 0 ? await Corpus.open(validationInputs, { field, document }) : null
  const given = options.tokenizer === undefined ? null : await readFileOf(options.tokenizer)
  const plan = {
    kind: 'text',
    inputs: await corpus.plan(),
    validationInputs: (await held?.plan()) ?? [],
    tokenizer: given === null ? { vocabulary: options.vocabulary, learnFrom: options.learnFrom } : sha256(given),
    options: { field, document, separator, validation, seed, partCharacters },
  }
  const preparation = await Preparation.open(options.output, plan, { force })
  if (!(preparation instanceof Preparation)) return preparation as TextReport // written below
  const json = given ?? (await learnt(preparation, corpus, options, monitor))
  const tokenizer = new Tokenizer(JSON.parse(json))
  const ending = separatorOf(tokenizer, separator)
  const encoder = { tokenizer, ending: ending === null ? null : tokenizer.numberOf(ending)! }
  const common = { seed, partCharacters }
  monitor.stage('turning text into tokens', corpus.bytes + (held?.bytes ?? 0))
  const parts = await encoded(
    preparation,
    corpus,
    encoder,
    { ...common, name: 'inputs', share: validation, before: 0 },
    monitor,
  )
  if (held)
    parts.push(
      ...(await encoded(
        preparation,
        held,
        encoder,
        { ...common, name: 'held', share: 1, before: corpus.bytes },
        monitor,
      )),
    )
  const counts: Record<string, Counts> = {}
  for (const name of ['train', 'validation'] as const) {
    const documents = parts.reduce((sum, { info }) => sum + info.counts[name].documents, 0)
    const tokens = parts.reduce((sum, { info }) => sum + info.counts[name].tokens, 0)
    if (documents > 0) counts[name] = { documents, tokens }
    else if (name === 'train' || validation > 0 || held) throw nothingIn(name, parts)
  }
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

async function readFileOf(path: string): Promise<string> {
  await readTokenizer(path) // says what is wrong with it
  return readFile(path, 'utf8')
}

async function learnt(
  preparation: Preparation,
  corpus: Corpus,
  { vocabulary, learnFrom }: TextOptions,
  monitor: Monitor,
): Promise<string> {
  const { info } = await preparation.part('tokenizer', async () => {
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
    return { files: {}, info: await learnTokenizer(texts(), vocabulary, monitor) }
  })
  return info
}

function separatorOf(tokenizer: Tokenizer, asked: string | null | undefined): string | null {
  if (asked === null) return null
  const found = (asked === undefined ? separators : [asked]).find((token) => tokenizer.numberOf(token) !== undefined)
  if (found !== undefined) return found
  throw new OnnxIreError(
    'invalid-option',
    `the tokenizer has no token ${asked === undefined ? separators.join(', ') : `'${asked}'`} to end documents with; name one with --separator, or leave it out with --no-separator. Its special tokens: ${tokenizer.specialTokens.join(', ') || 'none'}`,
  )
}

interface Encoder {
  readonly tokenizer: Tokenizer
  /** The token after each document. */
  readonly ending: number | null
}

interface Section {
  readonly name: string
  /** Of the documents that go to validation, each by a draw of its own. */
  readonly share: number
  readonly seed: number
  readonly partCharacters: number
  /** Bytes of other corpora, for the monitor. */
  readonly before: number
}

/** The parts of a corpus: each goes on where the one before ended, which a kept one knows. */
async function encoded(preparation: Preparation, corpus: Corpus, encoder: Encoder, section: Section, monitor: Monitor) {
  const parts: Part<PartInfo>[] = []
  for (let position: Position | null = { file: 0, document: 0 }; position; ) {
    const name: string = `${section.name}-${String(parts.length).padStart(5, '0')}`
    const from: Position = position
    const draws = new Random(section.seed).stream('validation').stream(name)
    const isHeld = () => section.share === 1 || (section.share > 0 && draws.uniform() < section.share)
    const part: Part<PartInfo> = await preparation.part(name, () =>
      encodedPart(name, corpus, from, encoder, section, isHeld, monitor),
    )
    parts.push(part)
    position = part.info.next
  }
  return parts
}

async function encodedPart(
  name: string,
  corpus: Corpus,
  from: Position,
  { tokenizer, ending }: Encoder,
  section: Section,
  isHeld: () => boolean,
  monitor: Monitor,
) {
  const tokens: Record<Name, Uint8Array[]> = { train: [], validation: [] }
  const documents: Record<Name, number> = { train: 0, validation: 0 }
  const counts: Record<Name, number> = { train: 0, validation: 0 }
  let characters = 0
  let next: Position | null = null
  for await (const document of corpus.documents(from)) {
    const own = tokenizer.encode(document.text)
    if (ending !== null) own.push(ending)
    const to: Name = isHeld() ? 'validation' : 'train'
    tokens[to].push(tokensAsBytes(own, tokenizer.vocabulary))
    documents[to]++
    counts[to] += own.length
    characters += document.text.length
    monitor.at(section.before + document.bytes)
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

function nothingIn(name: Name, parts: readonly { readonly info: PartInfo }[]): OnnxIreError {
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
      ? 'the inputs hold no text'
      : `of ${all} documents none was drawn for ${name}: change --validation, make more of them with --document line or paragraph, or give --validation-input`,
  )
}

/** Milliseconds of work between two looks at the outside world. */
const slice = 50

/** The content of a tokenizer.json learnt from texts. */
export async function learnTokenizer(
  texts: AsyncIterable<string>,
  vocabulary: number,
  monitor: Monitor,
): Promise<string> {
  const words = new WordCounts()
  for await (const text of texts) words.add(text)
  if (words.size === 0) throw new OnnxIreError('invalid-data', 'the inputs hold no text')
  const trainer = new BpeTrainer(words, { vocabulary })
  const first = trainer.size
  monitor.stage('learning the vocabulary', vocabulary - first)
  let rest = performance.now() + slice
  while (trainer.merge()) {
    if (performance.now() < rest) continue
    monitor.at(trainer.size - first)
    await setImmediate()
    rest = performance.now() + slice
  }
  if (trainer.size < vocabulary)
    monitor.note(`the text gives a vocabulary of ${trainer.size} only: no other pair of tokens occurs twice`)
  return `${JSON.stringify(tokenizerJson(trainer.vocabulary()), null, 1)}\n`
}
