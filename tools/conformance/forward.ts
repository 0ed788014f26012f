import { OnnxIreError, type Tensor } from 'onnx-ire'
import { numbersOf } from '../../dist/ir/leaf.js'
import { exportGraph } from '../../dist/onnx/export/export-graph.js'
import { importGraph } from '../../dist/onnx/import/import-graph.js'
import { encode } from '../../dist/onnx/proto/encode.js'
import type { Case, DataSet } from './case.js'
import { exception, failed, messageOf, type Outcome } from './outcome.js'
import { Session } from './session.js'

/** Operators with random results: only types and shapes can be compared. */
const random = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Bernoulli',
  'Multinomial',
])

export const isRandom = ({ operators, name }: Case): boolean =>
  operators.some((operator) => random.has(operator)) || (/training_dropout/.test(name) && !/zero_ratio/.test(name))

/** Imports, exports and runs a case, and compares the outputs with the stored outputs like the runner of ONNX. */
export async function checkForward(case_: Case): Promise<Outcome> {
  let bytes: Uint8Array
  try {
    const graph = importGraph({ proto: case_.proto, external: null })
    bytes = encode('ModelProto', exportGraph({ name: graph.name, inputs: graph.inputs, outputs: graph.outputs }))
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    if (error.code === 'unsupported-operator') return exception('operator not read', reasonOf(error.message))
    if (/does not carry|convert it to another type/.test(error.message))
      return exception('element type not carried', error.message)
    return failed(`${error.code}: ${error.message}`)
  }
  const original = await outputsOf(case_.bytes, case_.sets)
  const ours = await outputsOf(bytes, case_.sets)
  if (typeof ours === 'string') {
    if (typeof original === 'string') return exception('onnxruntime rejects the original, too', original)
    return failed(`the exported model does not run: ${ours}`)
  }
  const misfits = case_.sets.flatMap(({ outputs }, i) => {
    const misfit = different(outputs, ours[i]!, isRandom(case_))
    return misfit ? [misfit] : []
  })
  if (misfits.length === 0) {
    const note = isRandom(case_)
      ? 'types and shapes of random outputs'
      : typeof original === 'string'
        ? 'runs, although onnxruntime rejects the original'
        : undefined
    return { result: 'passed', ...(note ? { note } : {}) }
  }
  if (
    typeof original !== 'string' &&
    case_.sets.every((_, i) => different(original[i]!, ours[i]!, false) === undefined)
  )
    return exception('onnxruntime computes the same for the original, unlike the stored output', misfits[0]!)
  return failed(misfits[0]!)
}

/** The operators that an error lists, or its message. */
function reasonOf(message: string): string {
  const listed = message.split('\n').filter((line) => line.startsWith('  '))
  return listed.length === 0 ? message : listed.map((line) => line.trim()).join('; ')
}

async function outputsOf(bytes: Uint8Array, sets: readonly DataSet[]): Promise<ReadonlyMap<string, Tensor>[] | string> {
  try {
    const session = await Session.load(bytes)
    const results: ReadonlyMap<string, Tensor>[] = []
    for (const { inputs } of sets) results.push(await session.run(inputs))
    await session.dispose()
    return results
  } catch (error) {
    return messageOf(error)
  }
}

/** The first difference with |a - e| > 1e-7 + 1e-3 |e|, the default tolerance of the runner of ONNX. */
function different(
  expected: ReadonlyMap<string, Tensor>,
  results: ReadonlyMap<string, Tensor>,
  typesOnly: boolean,
): string | undefined {
  for (const [name, e] of expected) {
    const a = results.get(name)
    if (!a) return `no output '${name}'`
    const [type, expected] = [a, e].map(({ dtype, dims }) => `${dtype}[${dims}]`)
    if (type !== expected) return `'${name}' is ${type}, not ${expected}`
    if (typesOnly) continue
    if (e.dtype === 'string') {
      const at = (e.data as readonly string[]).findIndex((text, i) => text !== a.data[i])
      if (at >= 0) return `'${name}'[${at}] is ${a.data[at]}, not ${e.data[at]}`
      continue
    }
    const values = numbersOf(a)
    const at = numbersOf(e).findIndex((x, i) => !close(values[i]!, x))
    if (at >= 0) return `'${name}'[${at}] is ${values[at]}, not ${numbersOf(e)[at]}`
  }
  return undefined
}

const close = (a: number, e: number): boolean =>
  Object.is(a, e) || a === e || (Number.isNaN(a) && Number.isNaN(e)) || Math.abs(a - e) <= 1e-7 + 1e-3 * Math.abs(e)
