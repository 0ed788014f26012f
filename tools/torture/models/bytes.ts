import { encodeModel } from 'onnx-ire'
import type { Random } from 'onnx-ire/data'
import { modelOf } from 'onnx-ire/graph'
import { build } from 'onnx-ire/models'
import type { Case, Opened, Workplace } from '../campaign.js'
import { applyEdits, drawEdits, type Edit, fewerEdits } from '../edits.js'
import { pick } from '../random.js'
import { readCorpus } from './corpus.js'
import { exercise } from './exercise.js'

/** Bytes that mean something to the wire format: numbers, tags, lengths beyond the end, groups, empty messages. */
const pieces: readonly Uint8Array[] = [
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0x80, 0x80, 0x80, 0x00],
  [0x3a, 0x00],
  [0x3a, 0x02, 0x0a, 0x00],
  [0x0a, 0x00],
  [0x2a, 0x00],
  [0x0b, 0x0c],
  [0x0c],
  [0x00],
  [0x07],
  [0xfa, 0x07, 0x01, 0x00],
  [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0x1d, 0x00, 0x00, 0xc0, 0x7f],
  [0xe2, 0x80, 0xae],
].map((bytes) => Uint8Array.from(bytes))

/** Files that are small for what they make a decoder allocate or walk, by name. */
const amplifiers: Readonly<Record<string, (random: Random) => readonly number[]>> = {
  'a tensor of very many axes': (random) => inInitializer(field(1, ones(random))),
  'an attribute of very many integers': (random) => inNode(field(5, [...text(1, 'axes'), ...field(8, ones(random))])),
  'very many empty nodes': (random) => field(7, repeat(field(1, []), random)),
  'very many empty attributes': (random) => inNode(repeat(field(5, []), random)),
  'very many empty dims': (random) =>
    field(7, field(11, [...text(1, 'x'), ...field(2, field(1, field(2, repeat(field(1, []), random))))])),
  'a graph in very many pieces': (random) => repeat(field(7, text(2, 'g')), random),
  'messages within each other': (random) => {
    const depth = pick(random, [20, 60, 99, 100, 1000, 20_000])
    // A TypeProto holds a sequence of a TypeProto.
    const headers: number[][] = []
    for (let i = 0, length = 0; i < depth && length < 2 ** 16; i++) {
      const header = [...varint(((i % 2 ? 4 : 1) << 3) | 2), ...varint(length)]
      headers.push(header)
      length += header.length
    }
    return field(7, field(11, field(2, headers.reverse().flat())))
  },
  'groups within each other': (random) => Array<number>(pick(random, [10, 1000, 100_000])).fill((100 << 3) | 3),
  'operands of a sum': (random) => inNode([...text(4, 'Sum'), ...repeat(text(1, 'x'), random), ...text(2, 'y')]),
  'operands of an einsum': (random) => {
    const count = pick(random, [26, 1000, 100_000])
    const equation = Array(count).fill('i').join(',')
    return inNode([
      ...text(4, 'Einsum'),
      ...Array.from({ length: count }, () => text(1, 'x')).flat(),
      ...text(2, 'y'),
      ...field(5, [...text(1, 'equation'), ...text(4, equation), 0xa0, 1, 3]),
    ])
  },
}

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))]
/** A length-delimited field. */
const field = (number: number, content: ArrayLike<number>): number[] => {
  const out = [...varint((number << 3) | 2), ...varint(content.length)]
  for (let i = 0; i < content.length; i++) out.push(content[i]!)
  return out
}
const text = (number: number, content: string): number[] => field(number, new TextEncoder().encode(content))
const ones = (random: Random) => new Uint8Array(pick(random, [1000, 1025, 100_000, 4_000_000])).fill(1)
const repeat = (bytes: readonly number[], random: Random): number[] => {
  const out: number[] = []
  for (let i = pick(random, [100, 10_000, 300_000]); i > 0; i--) out.push(...bytes)
  return out
}
const declared = [...text(1, 'x'), ...field(2, field(1, [8, 1, ...field(2, field(1, [8, 2]))]))]
const inNode = (node: readonly number[]): number[] => [
  ...[8, 8],
  ...field(7, [...field(1, node), ...field(11, declared), ...field(12, text(1, 'y'))]),
  ...field(8, [0x10, 17]),
]
const inInitializer = (tensor: readonly number[]): number[] => field(7, field(5, [...tensor, 0x10, 1, ...text(8, 't')]))

/** Mutants of valid models, byte by byte, and files that amplify. */
export async function open({ shared }: Workplace): Promise<Opened> {
  const samples = [...(await readCorpus(shared)).values()]
    .flat()
    .map(({ operator, bytes }) => ({ name: operator, bytes }))
  const architectures = [
    build({ kind: 'mlp', features: 4, hidden: [3], classes: 2 }),
    build({ kind: 'convnet', channels: 1, stages: [2, 3], classes: 2 }),
    build({ kind: 'transformer', vocabulary: 7, context: 4, width: 4, heads: 2, layers: 1 }),
    build({ kind: 'llama', vocabulary: 7, context: 4, width: 4, heads: 2, layers: 1, hidden: 5, tied: false }),
  ].map((graph) => ({ name: graph.name, bytes: encodeModel(modelOf(graph)) }))
  return {
    make(seed, random) {
      if (seed % 20 === 0) {
        const name = pick(random, Object.keys(amplifiers))
        const file = Uint8Array.from(amplifiers[name]!(random))
        return { title: `${name}, ${file.length} bytes`, file, run: (enter) => exercise(file, enter) }
      }
      const sample = seed % 4 === 0 ? pick(random, architectures) : pick(random, samples)
      return mutant(sample, drawEdits(random, sample.bytes, pieces))
    },
  }
}

function mutant(sample: { readonly name: string; readonly bytes: Uint8Array }, edits: readonly Edit[]): Case {
  const file = applyEdits(sample.bytes, edits)
  return {
    title: `${sample.name}, ${edits.length} ${edits.length === 1 ? 'change' : 'changes'} of bytes`,
    file,
    run: (enter) => exercise(file, enter),
    *simpler() {
      for (const fewer of fewerEdits(edits)) yield mutant(sample, fewer)
    },
  }
}
