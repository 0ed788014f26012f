import type { Port } from '../analysis/inspect/contents.js'
import type { Inspection } from '../analysis/inspect/inspect.js'
import type { TensorReport } from '../analysis/inspect/tensors.js'
import { costText, layersText } from './layers-text.js'
import { byteSize, count, indented, plural, table } from './output.js'

/** Tensors shown of a list that nobody asked to see whole. */
const excerpt = 12

/** What `inspect` found, for people. @param whole which lists are shown whole */
export function inspectionText(
  path: string,
  bytes: number,
  inspection: Inspection,
  whole: { readonly all: boolean; readonly tensors: boolean },
): string {
  const { stored, training } = inspection
  const unsupported = inspection.operators.filter(({ supported }) => !supported)
  return [
    `${path}: ${header(inspection)}, ${byteSize(bytes)}`,
    `\nInputs\n${ports(inspection.inputs)}`,
    `\nOutputs\n${ports(inspection.outputs)}`,
    ...(inspection.layers.length > 0 ? [`\nLayers\n${layersText(inspection, whole.all)}`] : []),
    `\nCost, one multiply-add being two FLOPs\n${costText(inspection)}`,
    `\nOperators: ${plural(
      inspection.operators.reduce((sum, operator) => sum + operator.count, 0),
      'node',
    )}\n${operators(inspection.operators)}`,
    ...(unsupported.length > 0
      ? [`  not known to onnx-ire: ${unsupported.map(({ operator }) => operator).join(', ')}`]
      : []),
    `\nStored: ${plural(stored.floatElements, 'parameter')} (floating-point numbers), ${plural(stored.tensors, 'tensor')}, ${byteSize(stored.bytes)}`,
    `\nTraining varies ${plural(training.tensors, 'tensor')}, ${plural(training.elements, 'parameter')}${training.tensors > 0 ? '\n' : ''}${trained(inspection.tensors, whole.tensors)}`,
    left(inspection.tensors, whole.tensors),
    ...(training.blocked
      ? [`\nTraining is blocked (${training.blocked.code})\n${indented(training.blocked.message)}`]
      : []),
  ]
    .filter((part) => part !== '')
    .join('\n')
}

function header({ irVersion, opsets, producer, graph }: Inspection): string {
  const sets = Object.entries(opsets).map(([domain, version]) => `${domain || 'ai.onnx'} ${version}`)
  const maker = `${producer.name} ${producer.version}`.trim()
  return [
    `ONNX IR ${irVersion ?? '?'}`,
    `operator sets ${sets.join(', ') || 'none'}`,
    ...(maker ? [`made by ${maker}`] : []),
    ...(graph ? [`graph '${graph}'`] : []),
  ].join(', ')
}

const ports = (all: readonly Port[]): string =>
  all.length === 0
    ? '  none'
    : table(
        ['name', 'type', 'shape'],
        all.map(({ name, type, shape }) => [name, type, shape ? `[${shape.join(', ')}]` : 'unknown']),
      )

function operators(all: Inspection['operators']): string {
  const lines = ['']
  for (const { operator, count: times } of all) {
    const item = `${operator} ${count(times)}`
    if (lines.at(-1)!.length + item.length > 100) lines.push('')
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ', '}${item}`
  }
  return indented(lines.join('\n'))
}

function trained(tensors: readonly TensorReport[], all: boolean): string {
  const rows = tensors.filter(({ trainable }) => trainable)
  return rows.length === 0 ? '' : listing(rows, all)
}

function left(tensors: readonly TensorReport[], all: boolean): string {
  const rows = tensors.filter(({ trainable }) => !trainable)
  if (rows.length === 0) return ''
  if (all) return `\nTraining leaves ${plural(rows.length, 'tensor')} as they are\n${listing(rows, true)}`
  const reasons = new Map<string, number>()
  for (const { why } of rows) {
    // What keeps a tensor, without the names of the nodes.
    const reason = why.replace(/,? '.*$/s, '')
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  }
  const lines = [...reasons].map(([reason, times]) => `  ${count(times)}: ${reason}`)
  return `\nTraining leaves ${plural(rows.length, 'tensor')} as they are (--tensors lists them)\n${lines.join('\n')}`
}

function listing(rows: readonly TensorReport[], all: boolean): string {
  const shown = all ? rows : rows.slice(0, excerpt)
  const rest = rows.length - shown.length
  const listed = table(
    ['name', 'type', 'shape', 'elements', ''],
    shown.map(({ name, dtype, shape, elements, why }) => [name, dtype, `[${shape.join(', ')}]`, elements, why]),
  )
  return rest > 0 ? `${listed}\n  and ${count(rest)} more: --tensors lists them all` : listed
}
