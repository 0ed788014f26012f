import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import type { Dataset, ExampleStream } from 'onnx-ire'
import { type Adapter, encodeOnnxAdapter, encodePeft } from 'onnx-ire/adapter'
import { type Random, type Tokenizer, tokenizerJson, trainBpe, WordCounts } from 'onnx-ire/data'
import {
  imageFolder,
  parquetTexts,
  readCifar10,
  readCsv,
  readIdx,
  readJsonl,
  readLines,
  readOnnxAdapter,
  readPeftFolder,
  readText,
  readTokenizer,
  readTokens,
  streamCsv,
  streamJsonl,
  streamLines,
  textFolder,
} from 'onnx-ire/node'
import sharp from 'sharp'
import { iterateDocuments } from '../../../dist/node/data/documents.js'
import { pick } from '../random.js'

/** A format of data files: a valid file, and everything that reads it. */
export interface Format {
  readonly name: string
  /** Path of the file in the folder of the case. */
  readonly path: string
  readonly bytes: Uint8Array
  /** Byte sequences that mean something to the format. */
  readonly pieces: readonly Uint8Array[]
  /** Reads the file, all of its examples. */
  read(path: string, folder: string): Promise<unknown>
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const pieces = (...texts: readonly string[]): Uint8Array[] => texts.map(utf8)

const csv = utf8(
  ['a,b,kind,note', ...Array.from({ length: 20 }, (_, i) => `${i},${i / 7},${'xyz'[i % 3]},"n, ""${i}"""`)].join('\n'),
)
const csvTensors = {
  x: ['a', 'b'],
  label: { columns: 'kind', as: 'class' },
  note: { columns: 'note', as: 'text' },
} as const
const jsonl = utf8(
  Array.from({ length: 20 }, (_, i) =>
    JSON.stringify({ x: [i, -i / 3], kind: 'xyz'[i % 3], deep: { text: `t${i}` } }),
  ).join('\n'),
)
const jsonTensors = { x: 'x', label: { field: 'kind', as: 'class' }, text: { field: 'deep.text', as: 'text' } } as const
const idx = Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, ...Array(120).keys())
const words = 'the quick brown fox jumps over the lazy dog\n\nand the dog sleeps, the fox too\n'

async function readAll(data: Dataset | ExampleStream): Promise<void> {
  if ('batch' in data) {
    for (let start = 0; start < data.length; start += 64)
      await data.batch(Array.from({ length: Math.min(64, data.length - start) }, (_, i) => start + i))
  } else for await (const _ of data.examples(0));
}

async function exhaust(values: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of values);
}

const useTokenizer = (tokenizer: Tokenizer): unknown => tokenizer.decode(tokenizer.encode(words))

const matrix = (rows: number, columns: number) => ({
  dtype: 'float32' as const,
  dims: [rows, columns],
  data: Float32Array.from({ length: rows * columns }, (_, i) => i / 7 - 1),
})
const adapter: Adapter = {
  layers: ['q_proj', 'v_proj'].map((name) => ({
    module: `model.layers.0.self_attn.${name}`,
    kind: 'linear',
    a: matrix(2, 6),
    b: matrix(4, 2),
    scale: 2,
  })),
  config: { r: 2, alpha: 4 },
}

/** A file of a PEFT folder whose other file is valid. */
function peft(name: 'adapter_config.json' | 'adapter_model.safetensors', more: readonly Uint8Array[]): Format {
  const files = encodePeft(adapter)
  const other = name === 'adapter_config.json' ? 'adapter_model.safetensors' : 'adapter_config.json'
  return {
    name,
    path: `peft/${name}`,
    bytes: files[name]!,
    pieces: more,
    read: async (_, folder) => {
      await writeInto(folder, `peft/${other}`, files[other]!)
      await readPeftFolder(join(folder, 'peft'))
    },
  }
}

/** All formats with one valid file each. */
export async function createFormats(): Promise<readonly Format[]> {
  const pixels = sharp({
    create: {
      width: 12,
      height: 9,
      channels: 3,
      background: '#4080c0',
      noise: { type: 'gaussian', mean: 90, sigma: 40 },
    },
  })
  const image = async (name: string, bytes: Promise<Uint8Array>, ...more: readonly string[]): Promise<Format> => ({
    name,
    path: `images/a/image.${name}`,
    bytes: new Uint8Array(await bytes),
    pieces: pieces('IHDR', 'IDAT', 'JFIF', 'Exif', 'VP8X', ...more),
    read: async (_, folder) => readAll(await imageFolder(join(folder, 'images'), { image: { size: 8 } })),
  })
  const counts = new WordCounts()
  counts.add(words)
  const tokenizer = utf8(JSON.stringify(tokenizerJson(trainBpe(counts, { vocabulary: 280 }))))
  const parquet = (codec: 'UNCOMPRESSED' | 'SNAPPY'): Format => ({
    name: `parquet ${codec}`,
    path: 'file.parquet',
    bytes: new Uint8Array(
      parquetWriteBuffer({
        codec,
        columnData: [{ name: 'text', type: 'STRING', data: words.split(' ') }],
      }),
    ),
    pieces: pieces('PAR1'),
    read: (path) => exhaust(parquetTexts(path, 'text')),
  })
  const tokens = new Uint8Array(32 + 2 * 64)
  tokens.set(utf8('OITOKEN1'))
  new DataView(tokens.buffer).setUint32(8, 2, true)
  new DataView(tokens.buffer).setUint32(12, 256, true)
  new DataView(tokens.buffer).setBigUint64(16, 64n, true)
  const jsonPieces = pieces(
    '{',
    '[',
    '}',
    '"',
    '\\u0000',
    '\\ud800',
    '1e999',
    '"__proto__":',
    'null',
    '-',
    '[[[[[[[[[[',
  )
  return [
    {
      name: 'csv',
      path: 'file.csv',
      bytes: csv,
      pieces: pieces('"', ',', '\n', '\r', '""', ',,,,', '1e999', 'NaN', '\ufeff', '__proto__', '\0'),
      read: async (path) => {
        await readAll(await readCsv(path, { tensors: csvTensors, missing: 'skip' }))
        await readAll(await streamCsv(path, { tensors: { x: '*' }, missing: 0 }))
      },
    },
    {
      name: 'jsonl',
      path: 'file.jsonl',
      bytes: jsonl,
      pieces: jsonPieces,
      read: async (path) => {
        await readAll(await readJsonl(path, { tensors: jsonTensors, padding: { x: { mask: 'mask' } } }))
        await readAll(await streamJsonl(path, { tensors: jsonTensors }))
      },
    },
    { name: 'idx', path: 'file.idx', bytes: idx, pieces: [], read: (path) => readIdx(path) },
    {
      name: 'idx.gz',
      path: 'file.idx.gz',
      bytes: new Uint8Array(gzipSync(idx)),
      pieces: [],
      read: (path) => readIdx(path),
    },
    {
      name: 'cifar',
      path: 'cifar/test_batch.bin',
      bytes: new Uint8Array(3 * 3073).fill(3),
      pieces: [new Uint8Array(3073)],
      read: (_, folder) => readCifar10(join(folder, 'cifar'), 'test'),
    },
    {
      name: 'tokens',
      path: 'file.tokens',
      bytes: tokens,
      pieces: [],
      read: async (path) => readAll(await readTokens(path, { context: 8 })),
    },
    {
      name: 'text',
      path: 'texts/a/file.txt',
      bytes: utf8(words.repeat(4)),
      pieces: [Uint8Array.of(0xff), Uint8Array.of(0xed, 0xa0, 0x80), ...pieces('\r', '\n\n', '\ufeff', '\0')],
      read: async (path, folder) => {
        await readText(path)
        await readLines(path)
        await readAll(streamLines(path))
        await readAll(await textFolder(join(folder, 'texts')))
        await exhaust(iterateDocuments(path, { document: 'paragraph' }))
      },
    },
    {
      name: 'jsonl.gz documents',
      path: 'file.jsonl.gz',
      bytes: new Uint8Array(
        gzipSync(
          words
            .split('\n')
            .map((text) => JSON.stringify({ text }))
            .join('\n'),
        ),
      ),
      pieces: [],
      read: (path) => exhaust(iterateDocuments(path)),
    },
    parquet('UNCOMPRESSED'),
    parquet('SNAPPY'),
    {
      name: 'tokenizer',
      path: 'tokenizer.json',
      bytes: tokenizer,
      pieces: jsonPieces,
      read: async (path) => useTokenizer(await readTokenizer(path)),
    },
    peft('adapter_config.json', [
      ...jsonPieces,
      ...pieces('"rank_pattern":', '{"(a+)+$":1}', '"use_dora":true', '0', '"peft_type":"IA3"'),
    ]),
    peft('adapter_model.safetensors', [
      ...jsonPieces,
      ...pieces('"F16"', '"BF16"', '.lora_B.bias', '[9007199254740991]'),
    ]),
    {
      name: 'onnx_adapter',
      path: 'file.onnx_adapter',
      bytes: encodeOnnxAdapter(adapter),
      pieces: [
        Uint8Array.of(255, 255, 255, 255),
        Uint8Array.of(255, 255, 255, 127),
        Uint8Array.of(4, 0, 0, 0),
        ...pieces('TORT'),
      ],
      read: readOnnxAdapter,
    },
    await image('png', pixels.clone().png().toBuffer(), 'PLTE', 'tRNS', 'iCCP'),
    await image('jpg', pixels.clone().jpeg().toBuffer()),
    await image('webp', pixels.clone().webp().toBuffer(), 'VP8L', 'ANIM'),
  ]
}

/** Writes the file of a format into a folder, with the folders above it. */
export async function writeInto(folder: string, path: string, bytes: Uint8Array): Promise<string> {
  const full = join(folder, path)
  await mkdir(dirname(full), { recursive: true })
  await writeFile(full, bytes)
  return full
}

/** Whole files that no change of bytes leads to, by the name of the format that reads them. */
export const wholes: Readonly<Record<string, (random: Random) => Uint8Array>> = {
  csv: (random) =>
    pick(random, [
      () =>
        utf8(`${Array.from({ length: 60_000 }, (_, i) => `c${i}`).join(',')}\n${Array(60_000).fill(1).join(',')}\n`),
      () => utf8(`__proto__,constructor,kind,note\n${'1,2,x,y\n'.repeat(100)}`),
      () => utf8(`a,b,kind,note\n"${'x'.repeat(2_000_000)}`),
      () => utf8(`a,b,kind,note\n${'1,2,'.repeat(500_000)}`),
      () => utf8('\n'.repeat(300_000)),
    ])(),
  jsonl: (random) =>
    pick(random, [
      () => utf8('['.repeat(200_000)),
      () => utf8(`${'['.repeat(100_000)}${']'.repeat(100_000)}`),
      () => utf8(`{"x": [${'1,'.repeat(500_000)}1], "kind": "a", "deep": {"text": "t"}}`),
      () => utf8(`{"x": "${'y'.repeat(3_000_000)}`),
      () => utf8(Array.from({ length: 30_000 }, (_, i) => `{"x":[1],"kind":"k${i}","deep":{"text":"t"}}`).join('\n')),
      () => utf8('{"__proto__": {"x": 1}, "x": [1], "kind": "constructor", "deep": {"text": "__proto__"}}\n'),
    ])(),
  tokenizer: (random) =>
    pick(random, [
      () => utf8('['.repeat(200_000)),
      () => utf8('{"model": {"type": "BPE", "vocab": {"__proto__": 1, "constructor": 2}, "merges": []}}'),
      () => utf8('{"model": {"type": "WordPiece", "vocab": {"a": 1e99, "b": -1}, "unk_token": "c"}}'),
      () => utf8('{"model": {"type": "constructor"}}'),
      () => utf8('{"added_tokens": 5, "model": {"type": "BPE", "vocab": [], "merges": {}}}'),
    ])(),
  'adapter_config.json': (random) =>
    pick(random, [
      () => utf8('['.repeat(200_000)),
      () => utf8(`{"peft_type":"LORA","r":2,"alpha_pattern":{"${'a?'.repeat(2000)}${'a'.repeat(2000)}":1}}`),
      () => utf8(`{"peft_type":"LORA","r":2,"alpha_pattern":{"${'(a|'.repeat(5000)}":1}}`),
      () => utf8(`{"peft_type":"LORA","r":2,"rank_pattern":{"__proto__":2,"constructor":2,"[^.]*.*":2}}`),
      () =>
        utf8(
          `{"peft_type":"LORA","r":2,"alpha_pattern":{${Array.from({ length: 20_000 }, (_, i) => `".*x${i}.*y":1`).join(',')}}}`,
        ),
    ])(),
  onnx_adapter: (random) =>
    pick(random, [
      () => utf8('    TORT'),
      // A list of 250,000 references to one table.
      () => {
        const file = new Uint8Array(1_000_064)
        const view = new DataView(file.buffer)
        file.set(encodeOnnxAdapter(adapter).subarray(0, 52))
        view.setUint32(40, 250_000, true)
        for (let i = 0; i < 250_000; i++) view.setUint32(44 + 4 * i, 1_000_000 - 4 * i, true)
        view.setInt32(1_000_044, 1_000_036, true)
        return file
      },
    ])(),
  png: (random) =>
    pick(random, [
      () => utf8('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'),
      // 8,323,096 x 20 pixels in 79 bytes.
      () =>
        new Uint8Array(
          Buffer.from(
            'iVBORw0KGgoAAAANSUhEUgB/ABgAAAAUCAIAAAAY12rUAAAACXBIWXMAAAPoAAAD6AG1e1JrAAABkklEQVQ4jWNgYOcTlVHWMrSwd/MNiQ==',
            'base64',
          ),
        ),
    ])(),
  'idx.gz': () => new Uint8Array(gzipSync(new Uint8Array(64_000_000))),
  'jsonl.gz documents': () => new Uint8Array(gzipSync(new Uint8Array(32_000_000).fill(0x61))),
}
