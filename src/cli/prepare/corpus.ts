import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { corpusFiles, type DocumentOptions, documentsOf } from '../../node/data/documents.js'

/** Where a document begins: the file's number, and the document's within it. */
export interface Position {
  readonly file: number
  readonly document: number
}

export interface Placed {
  readonly text: string
  /** Of the document after it. */
  readonly next: Position
  /** Bytes of files read so far, roughly: of compressed ones, what their text takes, up to their size. */
  readonly bytes: number
}

/** Files of text as one sequence of documents, which can be entered anywhere. */
export class Corpus {
  readonly #files: readonly { readonly path: string; readonly bytes: number }[]
  readonly #options: DocumentOptions

  private constructor(files: readonly { readonly path: string; readonly bytes: number }[], options: DocumentOptions) {
    this.#files = files
    this.#options = options
  }

  static async open(paths: readonly string[], options: DocumentOptions): Promise<Corpus> {
    return new Corpus(await corpusFiles(paths), options)
  }

  get files(): number {
    return this.#files.length
  }

  get bytes(): number {
    return this.#files.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** What tells these files from others: paths, sizes, dates of change. */
  async plan(): Promise<readonly object[]> {
    return Promise.all(
      this.#files.map(async ({ path, bytes }) => ({ path: resolve(path), bytes, changed: (await stat(path)).mtimeMs })),
    )
  }

  async *documents(from: Position = { file: 0, document: 0 }): AsyncGenerator<Placed, void, undefined> {
    let before = this.#files.slice(0, from.file).reduce((sum, { bytes }) => sum + bytes, 0)
    for (let file = from.file; file < this.#files.length; file++) {
      const { path, bytes } = this.#files[file]!
      const skipped = file === from.file ? from.document : 0
      let [document, read] = [0, 0]
      for await (const text of documentsOf(path, this.#options)) {
        document++
        read += text.length
        if (document <= skipped) continue
        yield { text, next: { file, document }, bytes: before + Math.min(read, bytes) }
      }
      before += bytes
    }
  }
}
