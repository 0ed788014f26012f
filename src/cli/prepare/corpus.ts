import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type DocumentOptions, iterateDocuments, listCorpusFiles } from '../../node/data/documents.js'

/** Position of a document: the index of its file, and its index within the file. */
export interface Position {
  readonly file: number
  readonly document: number
}

/** A document of a corpus and its position. */
export interface CorpusDocument {
  readonly text: string
  /** Position of the next document. */
  readonly next: Position
  /** Estimated bytes of files read so far; for a compressed file the length of its text, up to the size of the file. */
  readonly bytes: number
}

/** Text files as one sequence of documents, which can be read from any position. */
export class Corpus {
  readonly #files: readonly { readonly path: string; readonly bytes: number }[]
  readonly #options: DocumentOptions

  private constructor(files: readonly { readonly path: string; readonly bytes: number }[], options: DocumentOptions) {
    this.#files = files
    this.#options = options
  }

  static async open(paths: readonly string[], options: DocumentOptions): Promise<Corpus> {
    return new Corpus(await listCorpusFiles(paths), options)
  }

  get files(): number {
    return this.#files.length
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
