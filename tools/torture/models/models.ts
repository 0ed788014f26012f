import { OnnxIreError } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { encode } from '../../../dist/onnx/proto/encode.js'
import type { ModelProto } from '../../../dist/onnx/proto/schema.js'
import { upgrades } from '../../../dist/onnx/upgrade/table.js'
import type { Case, Opened, Workplace } from '../campaign.js'
import { pick } from '../random.js'
import { readCorpus, type Sample } from './corpus.js'
import { exercise } from './exercise.js'
import { changes, inOperatorSet } from './structure.js'

/** Operator sets of the grid: undefined is the one of the sample; the others are before changes of many operators. */
const operatorSets = [undefined, 1, 6, 8, 10, 12, 17, 20, 26] as const

/** The grid of operators x operator sets x structured changes. A seed is a cell, and its random choices. */
export async function open({ shared }: Workplace): Promise<Opened> {
  const corpus = await readCorpus(shared)
  const operators = [...corpus.keys()]
  const names = [...new Set([...operators, ...Object.keys(upgrades), 'Upsample', 'Scatter', 'Unknown'])]
  const kinds = Object.keys(changes)
  return {
    make(seed, random) {
      const cells = operators.length * operatorSets.length * kinds.length
      // A stride that is coprime to the grid, so that a short run is spread over all of it.
      const cell = Number((BigInt(seed) * 7919n) % BigInt(cells))
      const operator = operators[cell % operators.length]!
      const kind = kinds[Math.floor(cell / operators.length) % kinds.length]!
      const set = operatorSets[Math.floor(cell / operators.length / kinds.length)]
      const sample = pick(random, corpus.get(operator)!)
      // Every fourth case has a second change.
      const applied = random.integer(4) === 0 ? [kind, pick(random, kinds)] : [kind]
      return caseOf(sample, applied, set, seed, names)
    },
  }
}

function caseOf(
  sample: Sample,
  kinds: readonly string[],
  set: number | undefined,
  seed: number,
  operators: readonly string[],
): Case {
  // Each change has its own stream, so that leaving one out does not change the other.
  const changed = kinds.reduce(
    (proto: ModelProto, kind, i) => changes[kind]!(proto, new Random(seed).stream(`${i} ${kind}`), operators),
    sample.proto,
  )
  const bytes = tryEncode(set === undefined ? changed : inOperatorSet(changed, set))
  return {
    title: `${sample.operator} (${sample.name})${set === undefined ? '' : `, operator set ${set}`}: ${kinds.join(' + ')}`,
    file: bytes ?? new Uint8Array(0),
    run: (enter) => (bytes ? exercise(bytes, enter) : { ended: 'cannot be written', faults: [] }),
    *simpler() {
      if (set !== undefined) yield caseOf(sample, kinds, undefined, seed, operators)
      if (kinds.length > 1)
        for (const i of kinds.keys())
          if (kinds[i] !== 'no change') yield caseOf(sample, kinds.with(i, 'no change'), set, seed, operators)
    },
  }
}

/** Largest number of characters in a model: two changes may give a hundred thousand operands a name as long. */
const maxText = 2 ** 26

/** Encodes a model; undefined if it has very much text or is nested deeper than a file may be. */
function tryEncode(proto: ModelProto): Uint8Array | undefined {
  if (countText(proto) > maxText) return undefined
  try {
    return encode('ModelProto', proto)
  } catch (error) {
    if (error instanceof OnnxIreError) return undefined
    throw error
  }
}

/** Counts the characters of all strings in a message, up to some number above `maxText`. */
function countText(message: object): number {
  const pending = [message]
  let count = 0
  for (let next = pending.pop(); next && count <= maxText; next = pending.pop()) {
    if (ArrayBuffer.isView(next)) continue
    for (const value of Object.values(next) as unknown[]) {
      if (typeof value === 'string') count += value.length
      else if (typeof value === 'object' && value !== null) pending.push(value)
    }
  }
  return count
}
