import { OnnxIreError, type Tensor } from 'onnx-ire'
import { numbersOf } from '../../dist/ir/leaf.js'
import { exportGraph } from '../../dist/onnx/export/export-graph.js'
import { importGraph } from '../../dist/onnx/import/import-graph.js'
import { encode } from '../../dist/onnx/proto/encode.js'
import type { Case, DataSet } from './case.js'
import { exception, failed, messageOf, type Outcome } from './outcome.js'
import { Session } from './session.js'

/** Operators whose results are drawn: only types and shapes can be compared. */
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

/** Import, export, run: the outputs equal the stored ones as ONNX's own runner compares them. */
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
    if (typeof original === 'string') return exception('onnxruntime refuses the original too', original)
    return failed(`the exported model does not run: ${ours}`)
  }
  const misfits = case_.sets.flatMap(({ outputs }, i) => {
    const misfit = different(outputs, ours[i]!, isRandom(case_))
    return misfit ? [misfit] : []
  })
  if (misfits.length === 0) {
    const note = isRandom(case_)
      ? 'types and shapes of drawn outputs'
      : typeof original === 'string'
        ? 'runs though onnxruntime refuses the original'
        : undefined
    return { result: 'passed', ...(note ? { note } : {}) }
  }
  if (
    typeof original !== 'string' &&
    case_.sets.every((_, i) => different(original[i]!, ours[i]!, false) === undefined)
  )
    return exception('onnxruntime computes the original so too, unlike the stored output', misfits[0]!)
  return failed(misfits[0]!)
}

/** The operators an error lists, or the error itself. */
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

/** Where results differ from what is expected: |a - e| > 1e-7 + 1e-3 |e|, the default of ONNX's runner. */
function different(
  expected: ReadonlyMap<string, Tensor>,
  results: ReadonlyMap<string, Tensor>,
  typesOnly: boolean,
): string | undefined {
  for (const [name, e] of expected) {
    const a = results.get(name)
    if (!a) return `no output '${name}'`
    const [type, wanted] = [a, e].map(({ dtype, dims }) => `${dtype}[${dims}]`)
    if (type !== wanted) return `'${name}' is ${type}, not ${wanted}`
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
