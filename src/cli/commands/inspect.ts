import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { type AdaptableLayer, adaptableLayers } from '../../adapter/layers.js'
import type { InputShapes, MissingLength } from '../../analysis/inspect/apply-shapes.js'
import type { ModelPort } from '../../analysis/inspect/contents.js'
import type { Inspection, StepCost } from '../../analysis/inspect/inspect.js'
import { inspectModel } from '../../analysis/inspect/inspect.js'
import type { LayerReport } from '../../analysis/inspect/layers.js'
import { totalBytes } from '../../analysis/inspect/run-memory.js'
import type { TensorReport } from '../../analysis/inspect/tensors.js'
import type { Operations, StepMemory } from '../../analysis/inspect/training-step.js'
import { isFloat } from '../../ir/dtype.js'
import type { Shape } from '../../ir/shape.js'
import { readModel } from '../../node/files/model.js'
import { usageError } from '../errors.js'
import { formatBytes, formatCount, formatNumber, formatTable, indent, quotePath } from '../format.js'
import { type Io, print } from '../io.js'
import { addShape, jsonOption, readRecompute } from '../options.js'

interface Options {
  readonly shape: InputShapes
  readonly all?: true
  readonly tensors?: true
  readonly adapterTargets?: true
  readonly recompute?: readonly string[]
  readonly json?: true
}

/** Defines `onnx-ire inspect`. */
export function defineInspect(program: Command, io: Io): void {
  const command = program
    .command('inspect')
    .description('show the layers and tensors of a model, which tensors training changes, and the cost of a step')
    .argument('<model>', 'an ONNX file')
    .option(
      '--shape <input=lengths>',
      'lengths of an input whose shape the file does not fix; may be repeated',
      addShape,
      {},
    )
    .option(
      '--recompute <pattern...>',
      "activations that are computed again: 'blocks', or names after which a block ends",
    )
    .option('--all', 'list operators without weights, too')
    .option('--tensors', 'list every tensor')
    .option('--adapter-targets', 'list the layers that an adapter (LoRA) can change, by the names of its targets')
    .addOption(jsonOption())
  command
    .addHelpText(
      'after',
      `
Examples:
  $ onnx-ire inspect model.onnx
  $ onnx-ire inspect model.onnx --shape x=1x3x224x224
  $ onnx-ire inspect model.onnx --recompute blocks
  $ onnx-ire inspect model.onnx --all --tensors
  $ onnx-ire inspect model.onnx --adapter-targets
  $ onnx-ire inspect model.onnx --json | jq '.tensors[] | select(.trainable) | .name'`,
    )
    .action(async (path: string, { shape: shapes, recompute, json, adapterTargets, ...lists }: Options) => {
      const model = await readModel(path)
      const inspection = { file: path, ...inspectModel(model, { shapes, ...readRecompute(recompute) }) }
      const { missing } = inspection.cost
      if (recompute && missing.length > 0)
        usageError(
          command,
          `--recompute changes the cost of a step, which needs --shape: ${formatMissing(missing, inspection.inputs)}`,
        )
      const { size } = await stat(path)
      const complete = { all: lists.all ?? false, tensors: lists.tensors ?? false }
      const adaptable = adapterTargets ? { adaptable: adaptableLayers(model) } : {}
      print(io, { ...inspection, bytes: size, ...adaptable }, json, () =>
        [
          formatInspection(path, size, inspection, complete),
          ...(adaptable.adaptable ? [formatAdaptable(adaptable.adaptable)] : []),
        ].join('\n'),
      )
    })
}

/** Table of the layers that an adapter can change. */
function formatAdaptable(layers: readonly AdaptableLayer[]): string {
  if (layers.length === 0) return '\nAn adapter can change no layer of this model'
  const rows = layers.map(({ module, operator, kind, in: inputs, out, kernel = [], weight, isDefault }) => [
    module,
    operator.replace('com.microsoft.', ''),
    kind,
    `${formatNumber(inputs)} to ${formatNumber(out)}${kernel.length > 0 ? `, ${kernel.join('x')}` : ''}`,
    isFloat(weight.dtype) ? weight.dtype : `${weight.bits} bits`,
    isDefault ? 'yes' : '',
  ])
  const trained = layers
    .filter(({ isDefault }) => isDefault)
    .reduce((sum, { in: inputs, out }) => sum + 16 * (inputs + out), 0)
  return [
    `\nAn adapter can change ${formatCount(layers.length, 'layer')}`,
    formatTable(['module', 'operator', 'kind', 'size', 'weight', 'all-linear'], rows),
    `  the targets 'all-linear' with r 16 train ${formatCount(trained, 'parameter')}`,
  ].join('\n')
}

/** Tensors listed without --tensors. */
const maxShownTensors = 12

/** Report of a model as text. @param complete lists that are printed completely */
export function formatInspection(
  path: string,
  bytes: number,
  inspection: Inspection,
  complete: { readonly all: boolean; readonly tensors: boolean },
): string {
  const { stored, training } = inspection
  const unsupported = inspection.operators.filter(({ supported }) => !supported)
  return [
    `${path}: ${formatHeader(inspection)}, ${formatBytes(bytes)}`,
    `\nInputs\n${formatPorts(inspection.inputs)}${formatBatch(path, inspection.batch)}`,
    `\nOutputs\n${formatPorts(inspection.outputs)}`,
    ...(inspection.layers.length > 0 ? [`\nLayers\n${formatLayers(inspection, complete.all)}`] : []),
    `\nCost, one multiply-add being two FLOPs\n${formatCost(inspection)}`,
    `\nOperators: ${formatCount(
      inspection.operators.reduce((sum, operator) => sum + operator.count, 0),
      'node',
    )}\n${formatOperators(inspection.operators)}`,
    ...(unsupported.length > 0 ? [`  unsupported: ${unsupported.map(({ operator }) => operator).join(', ')}`] : []),
    `\nStored: ${formatCount(stored.floatElements, 'parameter')} (floating-point numbers), ${formatCount(stored.tensors, 'tensor')}, ${formatBytes(stored.bytes)}`,
    ...(training.adapter
      ? [
          `\nThe model has an adapter: trainable ${formatNumber(training.elements)} of ${formatNumber(training.total)} (${((100 * training.elements) / training.total).toPrecision(3)} %)`,
        ]
      : []),
    `\nTraining changes ${formatCount(training.tensors, 'tensor')}, ${formatCount(training.elements, 'parameter')}${training.tensors > 0 ? '\n' : ''}${formatTrainable(inspection.tensors, complete.tensors)}`,
    formatUntrained(inspection.tensors, complete.tensors),
    ...(training.shared.length > 0 ? [formatShared(training.shared, complete.tensors)] : []),
    ...(training.copies.length > 0 ? [formatCopies(training.copies)] : []),
    ...(training.blocked
      ? [`\nTraining is blocked (${training.blocked.code})\n${indent(training.blocked.message)}`]
      : []),
  ]
    .filter((part) => part !== '')
    .join('\n')
}

function formatHeader({ irVersion, opsets, producer, graph }: Inspection): string {
  const sets = Object.entries(opsets).map(([domain, version]) => `${domain || 'ai.onnx'} ${version}`)
  const producedBy = `${producer.name} ${producer.version}`.trim()
  return [
    `ONNX IR ${irVersion ?? '?'}`,
    `operator sets ${sets.join(', ') || 'none'}`,
    ...(producedBy ? [`produced by ${producedBy}`] : []),
    ...(graph ? [`graph '${graph}'`] : []),
  ].join(', ')
}

const formatPorts = (all: readonly ModelPort[]): string =>
  all.length === 0
    ? '  none'
    : formatTable(
        ['name', 'type', 'shape'],
        all.map(({ name, type, shape }) => [name, type, shape ? `[${shape.join(', ')}]` : 'unknown']),
      )

/** The number of examples that the file fixes, and how it can be freed. */
function formatBatch(path: string, batch: Inspection['batch']): string {
  if (!batch) return ''
  const parts = `\n  batch fixed at ${batch.fixed}: training computes ${batch.fixed === 1 ? 'one example' : `${batch.fixed} examples`} at a time`
  return batch.obstacle
    ? `${parts}\n${indent(batch.obstacle.message)}`
    : `${parts}; freeBatch: true of a recipe or trainer, or onnx-ire batch ${quotePath(path)} -o free.onnx, computes whole batches`
}

function formatOperators(all: Inspection['operators']): string {
  const lines = ['']
  for (const { operator, count: times } of all) {
    const item = `${operator} ${formatNumber(times)}`
    if (lines.at(-1)!.length + item.length > 100) lines.push('')
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ', '}${item}`
  }
  return indent(lines.join('\n'))
}

function formatTrainable(tensors: readonly TensorReport[], all: boolean): string {
  const rows = tensors.filter(({ trainable }) => trainable)
  return rows.length === 0 ? '' : formatTensors(rows, all)
}

/** List of the tensors that several layers share. @param all whether all are listed */
function formatShared(shared: Inspection['training']['shared'], all: boolean): string {
  const shown = all ? shared : shared.slice(0, maxShownTensors)
  const lines = shown.map(({ tensor, layers }) => `  ${tensor}: ${layers.join(', ')}`)
  const rest = shared.length - shown.length
  return [
    `\nShared by several layers: ${formatCount(shared.length, 'tensor')} (the option untie separates them)`,
    ...lines,
    ...(rest > 0 ? [`  and ${formatNumber(rest)} more: --tensors lists them all`] : []),
  ].join('\n')
}

/** List of the tensors that are copies of an embedding. */
const formatCopies = (copies: Inspection['training']['copies']): string =>
  [
    '\nTied embeddings stored twice: training changes each tensor by itself (the option tie makes one of both)',
    ...copies.map(
      ({ tensor, embedding, transposed }) => `  ${tensor}: a copy of ${embedding}${transposed ? ', transposed' : ''}`,
    ),
  ].join('\n')

function formatUntrained(tensors: readonly TensorReport[], all: boolean): string {
  const rows = tensors.filter(({ trainable }) => !trainable)
  if (rows.length === 0) return ''
  if (all) return `\nTraining does not change ${formatCount(rows.length, 'tensor')}\n${formatTensors(rows, true)}`
  const reasons = new Map<string, number>()
  for (const { why } of rows) {
    // The reason without the names of nodes.
    const reason = why.replace(/,? '.*$/s, '')
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  }
  const lines = [...reasons].map(([reason, times]) => `  ${formatNumber(times)}: ${reason}`)
  return `\nTraining does not change ${formatCount(rows.length, 'tensor')} (--tensors lists them)\n${lines.join('\n')}`
}

function formatTensors(rows: readonly TensorReport[], all: boolean): string {
  const shown = all ? rows : rows.slice(0, maxShownTensors)
  const rest = rows.length - shown.length
  const listed = formatTable(
    ['name', 'type', 'shape', 'elements', ''],
    shown.map(({ name, dtype, shape, elements, why }) => [name, dtype, `[${shape.join(', ')}]`, elements, why]),
  )
  return rest > 0 ? `${listed}\n  and ${formatNumber(rest)} more: --tensors lists them all` : listed
}

/** Batch size for which memory is reported: the default of the trainer. */
const batchSize = 32

/** Table of layers. @param all whether operators without weights are listed */
function formatLayers({ layers, cost }: Inspection, all: boolean): string {
  const shown = all ? layers : layers.filter(({ parameters }) => parameters > 0)
  const folded = all ? [] : layers.filter(({ parameters }) => parameters === 0)
  const rows = shown.map((layer) => [
    shorten(layer.name, 23),
    shorten(formatOperatorNames(layer), 24),
    layer.shape ? formatOutput(layer.shape) : 'unknown',
    layer.parameters,
    layer.parameters === 0
      ? ''
      : layer.trainable === 0
        ? 'no'
        : layer.trainable === layer.parameters
          ? 'yes'
          : 'partly',
    formatShare(layer.flops, cost).padStart(6),
  ])
  const flopsOf = (layers: readonly LayerReport[]) => layers.reduce((sum, { flops }) => sum + (flops ?? 0), 0)
  // The forward pass counts one branch of an If, and the layers are those of all branches.
  const rest = Math.min(flopsOf(folded), Math.max(0, (cost.forward?.flops ?? 0) - flopsOf(shown)))
  return [
    ...(rows.length > 0
      ? [formatTable(['layer', 'operators', 'output', 'parameters', 'trained', ' FLOPs'], rows)]
      : []),
    ...(folded.length > 0
      ? [
          `  and ${formatCount(folded.length, 'operator')} without weights${cost.forward ? `, ${formatShare(rest, cost)} of the FLOPs` : ''} (--all lists them)`,
        ]
      : []),
  ].join('\n')
}

/** A shape in at most 18 characters. If it is longer, `?` stands for lengths that are not numbers. */
function formatOutput(shape: Shape): string {
  const text = `[${shape.join(', ')}]`
  return text.length <= 18
    ? text
    : shorten(`[${shape.map((dim) => (typeof dim === 'string' ? '?' : dim)).join(', ')}]`, 18)
}

/** The operators of a layer: `Conv, BatchNormalization`, or `Conv and 3 more`. */
const formatOperatorNames = ({ operators }: LayerReport): string =>
  operators.length > 2 ? `${operators[0]} and ${operators.length - 1} more` : operators.join(', ')

function formatShare(flops: number | null, { forward }: StepCost): string {
  if (flops === null || !forward || forward.flops === 0) return '?'
  const percent = (100 * flops) / forward.flops
  return percent > 0 && percent < 0.1 ? '< 0.1%' : `${percent.toFixed(1)}%`
}

/** FLOPs and memory of a training step, or the reason why they are unknown. */
function formatCost({ cost, training, inputs, batch }: Inspection): string {
  const { missing, error, forward, memory } = cost
  if (missing.length > 0) return `  unknown: ${formatMissing(missing, inputs)}`
  if (error) return `  unknown (${error.code})\n${indent(indent(error.message))}`
  if (!forward) return '  unknown: the model cannot be imported'
  return [
    formatOperations('forward', forward),
    cost.training
      ? formatOperations('training step', cost.training, cost.training.flops / forward.flops)
      : `  training step: none, ${training.blocked ? 'training is blocked' : 'nothing is trained'}`,
    ...(memory ? formatMemory(memory, batch) : []),
  ].join('\n')
}

function formatOperations(what: string, { flops, atLeast, notes }: Operations, ratio?: number): string {
  const times = ratio !== undefined && Number.isFinite(ratio) ? `, ${ratio.toFixed(1)} times the forward pass` : ''
  const line = `  ${what}: ${atLeast ? 'at least ' : ''}${formatAmount(flops)}FLOPs per example${times}`
  return [line, ...notes.map((note) => `    ${note}`)].join('\n')
}

/** A number with three digits and an SI prefix: `4.11 G`. */
function formatAmount(value: number): string {
  const units = ['', 'k', 'M', 'G', 'T', 'P']
  const power = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), units.length - 1)
  const scaled = value / 1000 ** power
  const digits =
    power === 0 && Number.isInteger(value) ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.max(scaled, 1))))
  return `${scaled.toFixed(digits)} ${units[power]}`
}

/** The end of a long name: names of layers differ at the end. */
const shorten = (text: string, width: number): string =>
  text.length <= width ? text : `...${text.slice(text.length - width + 3)}`

function formatMemory(
  { parameters, gradients, moments, activations, run }: StepMemory,
  batch: Inspection['batch'],
): string[] {
  const lines = [
    `  parameters: ${formatBytes(parameters)}, gradients ${formatBytes(gradients)}`,
    `  optimizer: momentum ${formatBytes(moments.sgd)} or Adam's moments ${formatBytes(moments.adam)}, IRE's mask ${formatBytes(moments.ireMask)}`,
  ]
  if (!activations) return [...lines, '  activations: unknown, their sizes depend on the data']
  const { fixed, perExample } = activations
  const training = run
    ? [`  a training process (Node, CPU, AdamW and IRE): about ${formatBytes(Math.round(totalBytes(run)))}`]
    : []
  if (batch) {
    const bytes = formatBytes(Math.round(fixed + batch.fixed * perExample))
    return [...lines, `  activations: about ${bytes} besides the gradients for a batch of ${batch.fixed}`, ...training]
  }
  const start = fixed > 0 ? `${formatBytes(Math.round(fixed))} and ` : ''
  const perBatch = formatBytes(Math.round(fixed + batchSize * perExample))
  return [
    ...lines,
    `  activations: about ${start}${formatBytes(Math.round(perExample))} per example, ${perBatch} for a batch of ${batchSize}`,
    ...training,
  ]
}

/** The open lengths of the inputs, and the options that set them. */
function formatMissing(missing: readonly MissingLength[], inputs: Inspection['inputs']): string {
  const lengths = missing.map(({ input, axis, name }) =>
    axis === null ? `the shape of '${input}'` : `axis ${axis} of '${input}'${name ? ` (${name})` : ''}`,
  )
  const options = inputs
    .filter(({ name }) => missing.some(({ input }) => input === name))
    .map(({ name, shape }) => `--shape ${name}=${shape ? shape.map(lengthOrGap).join('x') : '?'}`)
  return `the file does not set ${lengths.join(', ')}\n  Set every ?: ${options.join(' ')}`
}

const lengthOrGap = (dim: string | number, axis: number): string =>
  typeof dim === 'number' ? `${dim}` : axis === 0 ? '1' : '?'
