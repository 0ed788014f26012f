import { gradients, type Seed } from '../../grad/gradient.js'
import { isFloat } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import { leavesOf } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { toFloat32 } from '../../train/model/precision.js'
import { bytesOf, peakBytes } from './activations.js'
import { type Work, workOf } from './work.js'

/** Operations per example. */
export interface Operations {
  readonly flops: number
  /** Whether something is not in it, which `notes` tell. */
  readonly atLeast: boolean
  readonly notes: readonly string[]
}

/**
 * Memory of a training step in bytes, an estimate. A batch of B examples takes parameters + gradients + the optimizer's
 * moments + `activations.fixed` + B `activations.perExample`. Of gradients and activations together onnxruntime's CPU
 * provider was seen to take 1.1 (vision transformer) to 1.5 times as much (ResNets, whose kernels lay tensors out anew).
 */
export interface StepMemory {
  /** Everything the graph holds, in float32 where the file has half floats. */
  readonly parameters: number
  readonly gradients: number
  /** What optimizers keep for every trained number: SGD with momentum one more, Adam two, IRE one byte. */
  readonly moments: { readonly sgd: number; readonly adam: number; readonly ireMask: number }
  /** What is held at the fullest moment beside the gradients; null where it is not known. */
  readonly activations: { readonly fixed: number; readonly perExample: number } | null
}

/** The forward pass and the gradients of the trained tensors, without a loss: what a training step computes. */
export interface TrainingStep {
  readonly outputs: readonly Value[]
  /** Parameters that have a gradient. */
  readonly trained: ReadonlySet<Value>
}

/** Throws `not-differentiable`. */
export function trainingStep(graph: Graph, names: ReadonlySet<string>): TrainingStep {
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

export const forwardWork = ({ outputs }: Graph): Work =>
  workOf(outputs.values(), ({ source }) => source.kind === 'parameter')

const constantIn =
  ({ trained }: TrainingStep) =>
  (leaf: Value): boolean =>
    leaf.source.kind === 'parameter' && !trained.has(leaf)

export const trainingWork = (step: TrainingStep): Work => workOf(step.outputs, constantIn(step))

/** Of `examples` examples at once. */
export function perExample({ flops, unknown, unbounded }: Work, examples: number): Operations {
  const notes = [
    ...listed(unknown, 'depends on lengths or data that only a run tells, and is not counted'),
    ...listed(unbounded, 'runs as often as a run tells, and is counted once'),
  ]
  return { flops: flops / examples, atLeast: notes.length > 0, notes }
}

/** One note per operator. */
function listed(nodes: readonly Node[], what: string): string[] {
  const counts = new Map<string, number>()
  for (const { operator } of nodes) counts.set(operator, (counts.get(operator) ?? 0) + 1)
  return [...counts].map(([operator, count]) => `${operator}${count > 1 ? ` (${count} times)` : ''} ${what}`)
}

/** A training step and how many examples it takes. */
interface Run {
  readonly step: TrainingStep
  readonly examples: number
}

/** @param larger the same step with more examples, where the model takes any number of them */
export function memoryOf({ step, examples }: Run, larger: Run | undefined): StepMemory {
  const trained = [...step.trained]
  const elements = trained.reduce((sum, { shape }) => sum + (shape as readonly number[]).reduce((a, b) => a * b, 1), 0)
  const held = leavesOf(step.outputs).filter(({ source }) => source.kind !== 'input')
  const gradients = total(trained)
  const beside = (step: TrainingStep) => Math.max(0, peakBytes(step.outputs, constantIn(step)) - gradients)
  const few = beside(step)
  const slope = larger ? (beside(larger.step) - few) / (larger.examples - examples) : few / examples
  return {
    parameters: total(held),
    gradients,
    moments: { sgd: gradients, adam: 2 * gradients, ireMask: elements },
    activations: Number.isNaN(slope) ? null : { fixed: Math.max(0, few - examples * slope), perExample: slope },
  }
}

const total = (values: readonly Value[]): number => values.reduce((sum, value) => sum + bytesOf(value), 0)
