import type { Port } from '../../analysis/inspect/contents.js'
import type { Inspection, StepCost } from '../../analysis/inspect/inspect.js'
import type { Layer } from '../../analysis/inspect/layers.js'
import type { MissingLength } from '../../analysis/inspect/lengths.js'
import type { Operations, StepMemory } from '../../analysis/inspect/step.js'
import type { TensorReport } from '../../analysis/inspect/tensors.js'
import { formatBytes, formatCount, formatNumber, formatTable, indent } from './format.js'

/** Tensors shown of a list that nobody asked to see whole. */
const excerpt = 12

/** What `inspect` found, for people. @param whole which lists are shown whole */
export function formatInspection(
  path: string,
  bytes: number,
  inspection: Inspection,
  whole: { readonly all: boolean; readonly tensors: boolean },
): string {
  const { stored, training } = inspection
  const unsupported = inspection.operators.filter(({ supported }) => !supported)
  return [
    `${path}: ${header(inspection)}, ${formatBytes(bytes)}`,
    `\nInputs\n${ports(inspection.inputs)}`,
    `\nOutputs\n${ports(inspection.outputs)}`,
    ...(inspection.layers.length > 0 ? [`\nLayers\n${layersText(inspection, whole.all)}`] : []),
    `\nCost, one multiply-add being two FLOPs\n${costText(inspection)}`,
    `\nOperators: ${formatCount(
      inspection.operators.reduce((sum, operator) => sum + operator.count, 0),
      'node',
    )}\n${operators(inspection.operators)}`,
    ...(unsupported.length > 0
      ? [`  not known to onnx-ire: ${unsupported.map(({ operator }) => operator).join(', ')}`]
      : []),
    `\nStored: ${formatCount(stored.floatElements, 'parameter')} (floating-point numbers), ${formatCount(stored.tensors, 'tensor')}, ${formatBytes(stored.bytes)}`,
    `\nTraining varies ${formatCount(training.tensors, 'tensor')}, ${formatCount(training.elements, 'parameter')}${training.tensors > 0 ? '\n' : ''}${trained(inspection.tensors, whole.tensors)}`,
    left(inspection.tensors, whole.tensors),
    ...(training.blocked
      ? [`\nTraining is blocked (${training.blocked.code})\n${indent(training.blocked.message)}`]
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
    : formatTable(
        ['name', 'type', 'shape'],
        all.map(({ name, type, shape }) => [name, type, shape ? `[${shape.join(', ')}]` : 'unknown']),
      )

function operators(all: Inspection['operators']): string {
  const lines = ['']
  for (const { operator, count: times } of all) {
    const item = `${operator} ${formatNumber(times)}`
    if (lines.at(-1)!.length + item.length > 100) lines.push('')
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ', '}${item}`
  }
  return indent(lines.join('\n'))
}

function trained(tensors: readonly TensorReport[], all: boolean): string {
  const rows = tensors.filter(({ trainable }) => trainable)
  return rows.length === 0 ? '' : listing(rows, all)
}

function left(tensors: readonly TensorReport[], all: boolean): string {
  const rows = tensors.filter(({ trainable }) => !trainable)
  if (rows.length === 0) return ''
  if (all) return `\nTraining leaves ${formatCount(rows.length, 'tensor')} as they are\n${listing(rows, true)}`
  const reasons = new Map<string, number>()
  for (const { why } of rows) {
    // What keeps a tensor, without the names of the nodes.
    const reason = why.replace(/,? '.*$/s, '')
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  }
  const lines = [...reasons].map(([reason, times]) => `  ${formatNumber(times)}: ${reason}`)
  return `\nTraining leaves ${formatCount(rows.length, 'tensor')} as they are (--tensors lists them)\n${lines.join('\n')}`
}

function listing(rows: readonly TensorReport[], all: boolean): string {
  const shown = all ? rows : rows.slice(0, excerpt)
  const rest = rows.length - shown.length
  const listed = formatTable(
    ['name', 'type', 'shape', 'elements', ''],
    shown.map(({ name, dtype, shape, elements, why }) => [name, dtype, `[${shape.join(', ')}]`, elements, why]),
  )
  return rest > 0 ? `${listed}\n  and ${formatNumber(rest)} more: --tensors lists them all` : listed
}

/** A batch that the memory of a step is given for, as the trainer's default. */
const batch = 32

/** The table of layers. @param all with the operators that have no weights */
export function layersText({ layers, cost }: Inspection, all: boolean): string {
  const shown = all ? layers : layers.filter(({ parameters }) => parameters > 0)
  const folded = all ? [] : layers.filter(({ parameters }) => parameters === 0)
  const rows = shown.map((layer) => [
    shortened(layer.name, 23),
    shortened(namesOf(layer), 24),
    layer.shape ? shortened(`[${layer.shape.join(', ')}]`, 18) : 'unknown',
    layer.parameters,
    layer.parameters === 0
      ? ''
      : layer.trainable === 0
        ? 'no'
        : layer.trainable === layer.parameters
          ? 'yes'
          : 'partly',
    share(layer.flops, cost).padStart(6),
  ])
  const rest = folded.reduce((sum, { flops }) => sum + (flops ?? 0), 0)
  return [
    ...(rows.length > 0
      ? [formatTable(['layer', 'operators', 'output', 'parameters', 'trained', ' FLOPs'], rows)]
      : []),
    ...(folded.length > 0
      ? [
          `  and ${formatCount(folded.length, 'operator')} without weights${cost.forward ? `, ${share(rest, cost)} of the FLOPs` : ''} (--all lists them)`,
        ]
      : []),
  ].join('\n')
}

/** `Conv, BatchNormalization`; more than two are told by their number. */
const namesOf = ({ operators }: Layer): string =>
  operators.length > 2 ? `${operators[0]} and ${operators.length - 1} more` : operators.join(', ')

function share(flops: number | null, { forward }: StepCost): string {
  if (flops === null || !forward || forward.flops === 0) return '?'
  const percent = (100 * flops) / forward.flops
  return percent > 0 && percent < 0.1 ? '< 0.1%' : `${percent.toFixed(1)}%`
}

/** FLOPs and memory of a step, or what has to be known for them. */
export function costText({ cost, training, inputs }: Inspection): string {
  const { missing, error, forward, memory } = cost
  if (missing.length > 0) return `  unknown: ${hint(missing, inputs)}`
  if (error) return `  unknown (${error.code})\n${indent(indent(error.message))}`
  if (!forward) return '  unknown: the model cannot be imported'
  return [
    operations('forward', forward),
    cost.training
      ? operations('training step', cost.training, cost.training.flops / forward.flops)
      : `  training step: none, ${training.blocked ? 'training is blocked' : 'nothing is trained'}`,
    ...(memory ? memoryText(memory) : []),
  ].join('\n')
}

function operations(what: string, { flops, atLeast, notes }: Operations, ratio?: number): string {
  const times = ratio !== undefined && Number.isFinite(ratio) ? `, ${ratio.toFixed(1)} times the forward pass` : ''
  const line = `  ${what}: ${atLeast ? 'at least ' : ''}${amount(flops)}FLOPs per example${times}`
  return [line, ...notes.map((note) => `    ${note}`)].join('\n')
}

/** Three digits and a unit of a thousand: `4.11 G`. */
function amount(value: number): string {
  const units = ['', 'k', 'M', 'G', 'T', 'P']
  const power = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), units.length - 1)
  const scaled = value / 1000 ** power
  const digits =
    power === 0 && Number.isInteger(value) ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.max(scaled, 1))))
  return `${scaled.toFixed(digits)} ${units[power]}`
}

/** Its end, which tells layers of one model apart. */
const shortened = (text: string, width: number): string =>
  text.length <= width ? text : `...${text.slice(text.length - width + 3)}`

function memoryText({ parameters, gradients, moments, activations }: StepMemory): string[] {
  const kept = [
    `  parameters: ${formatBytes(parameters)}, gradients ${formatBytes(gradients)}`,
    `  optimizer: momentum ${formatBytes(moments.sgd)} or Adam's moments ${formatBytes(moments.adam)}, IRE's mask ${formatBytes(moments.ireMask)}`,
  ]
  if (!activations) return [...kept, '  activations: unknown, their lengths depend on the data']
  const { fixed, perExample } = activations
  const start = fixed > 0 ? `${formatBytes(Math.round(fixed))} and ` : ''
  const whole = formatBytes(Math.round(fixed + batch * perExample))
  return [
    ...kept,
    `  activations: about ${start}${formatBytes(Math.round(perExample))} per example, ${whole} for a batch of ${batch}`,
  ]
}

/** Which lengths to give, and how. */
function hint(missing: readonly MissingLength[], inputs: Inspection['inputs']): string {
  const lengths = missing.map(({ input, axis, name }) =>
    axis === null ? `the shape of '${input}'` : `axis ${axis} of '${input}'${name ? ` (${name})` : ''}`,
  )
  const options = inputs
    .filter(({ name }) => missing.some(({ input }) => input === name))
    .map(({ name, shape }) => `--shape ${name}=${shape ? shape.map(lengthOrGap).join('x') : '?'}`)
  return `the file leaves open ${lengths.join(', ')}\n  Give lengths for every ?: ${options.join(' ')}`
}

const lengthOrGap = (dim: string | number, axis: number): string =>
  typeof dim === 'number' ? `${dim}` : axis === 0 ? '1' : '?'
