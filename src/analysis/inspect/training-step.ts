import { gradients, type Seed } from '../../grad/gradient.js'
import { isFloat } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import { leavesOf } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { toFloat32 } from '../../train/model/precision.js'
import { countBytes, peakBytes } from './peak-memory.js'
import { countWork, type Work } from './work.js'

/** Number of operations per example. */
export interface Operations {
  readonly flops: number
  /** Whether operations are missing from `flops`; `notes` lists them. */
  readonly atLeast: boolean
  readonly notes: readonly string[]
}

/**
 * Estimated memory of a training step in bytes. A batch of B examples takes parameters + gradients + optimizer moments
 * + `activations.fixed` + B `activations.perExample`. For gradients and activations, onnxruntime's CPU provider was
 * measured to take 1.1 (vision transformer) to 1.5 times as much (ResNets, whose kernels change the memory layout).
 */
export interface StepMemory {
  /** All parameters and constants; half precision counts as float32. */
  readonly parameters: number
  readonly gradients: number
  /** Optimizer state: one number per trained element for SGD with momentum, two for Adam, one byte for IRE. */
  readonly moments: { readonly sgd: number; readonly adam: number; readonly ireMask: number }
  /** Peak memory in addition to the gradients; null if unknown. */
  readonly activations: { readonly fixed: number; readonly perExample: number } | null
}

/** The forward pass and the gradients of the trained tensors, without a loss. */
export interface TrainingStep {
  readonly outputs: readonly Value[]
  /** Parameters that have a gradient. */
  readonly trained: ReadonlySet<Value>
}

/** Builds a training step without a loss. Throws `not-differentiable`. */
export function buildTrainingStep(graph: Graph, names: ReadonlySet<string>): TrainingStep {
  const { parameters, outputs } = toFloat32(graph)
  const varied = [...parameters].flatMap(([name, value]) => (names.has(name) ? [value] : []))
  const floats = [...outputs].filter(([, y]) => isFloat(y.dtype))
  const dxs = gradients(
    floats.map(([name, y]): Seed => [y, input(`dy/${name}`, y.dtype, y.shape)]),
    varied,
  )
  return {
    outputs: [...floats.map(([, y]) => y), ...dxs.filter((dx) => dx !== null)],
    trained: new Set(varied.filter((_, i) => dxs[i])),
  }
}

export const countForwardWork = ({ outputs }: Graph): Work =>
  countWork(outputs.values(), ({ source }) => source.kind === 'parameter')

const constantIn =
  ({ trained }: TrainingStep) =>
  (leaf: Value): boolean =>
    leaf.source.kind === 'parameter' && !trained.has(leaf)

export const countTrainingWork = (step: TrainingStep): Work => countWork(step.outputs, constantIn(step))

/** Converts the work of a batch of `examples` to operations per example. */
export function toOperations({ flops, unknown, unbounded }: Work, examples: number): Operations {
  const notes = [
    ...noteOperators(unknown, 'depends on unknown lengths or data, and is not counted'),
    ...noteOperators(unbounded, 'has an unknown number of iterations, and is counted once'),
  ]
  return { flops: flops / examples, atLeast: notes.length > 0, notes }
}

/** One note per operator. */
function noteOperators(nodes: readonly Node[], what: string): string[] {
  const counts = new Map<string, number>()
  for (const { operator } of nodes) counts.set(operator, (counts.get(operator) ?? 0) + 1)
  return [...counts].map(([operator, count]) => `${operator}${count > 1 ? ` (${count} times)` : ''} ${what}`)
}

/** A training step and its number of examples. */
interface Run {
  readonly step: TrainingStep
  readonly examples: number
}

/**
 * Estimates the memory of a training step.
 * @param larger the step with more examples, if the model has a variable batch size
 */
export function estimateMemory({ step, examples }: Run, larger: Run | undefined): StepMemory {
  const trained = [...step.trained]
  const elements = trained.reduce((sum, { shape }) => sum + (shape as readonly number[]).reduce((a, b) => a * b, 1), 0)
  const held = leavesOf(step.outputs).filter(({ source }) => source.kind !== 'input')
  const gradients = sumBytes(trained)
  const beside = (step: TrainingStep) => Math.max(0, peakBytes(step.outputs, constantIn(step)) - gradients)
  const few = beside(step)
  const slope = larger ? (beside(larger.step) - few) / (larger.examples - examples) : few / examples
  return {
    parameters: sumBytes(held),
    gradients,
    moments: { sgd: gradients, adam: 2 * gradients, ireMask: elements },
    activations: Number.isNaN(slope) ? null : { fixed: Math.max(0, few - examples * slope), perExample: slope },
  }
}

const sumBytes = (values: readonly Value[]): number => values.reduce((sum, value) => sum + countBytes(value), 0)
