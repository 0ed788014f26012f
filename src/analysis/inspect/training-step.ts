import { gradients, type Seed } from '../../grad/gradient.js'
import { isFloat } from '../../ir/dtype.js'
import { input } from '../../ir/leaf.js'
import { totalSizeOf } from '../../ir/tensor.js'
import { leavesOf, topological } from '../../ir/topology.js'
import type { Graph, Node, Value } from '../../ir/value.js'
import { toFloat32 } from '../../lowering/precision.js'
import { adamw } from '../../optim/adam.js'
import { ire } from '../../optim/ire/ire.js'
import { type Recompute, recomputeActivations } from '../../train/graphs/recompute.js'
import { countBytes, peakBytes } from './arena-peak.js'
import { type RunMemory, runMemory } from './run-memory.js'
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
 * + `activations.fixed` + B `activations.perExample`; a process takes more, see `run`.
 */
export interface StepMemory {
  /** All parameters and constants; half precision counts as float32. */
  readonly parameters: number
  readonly gradients: number
  /** Optimizer state: one number per trained element for SGD with momentum, two for Adam, one byte for IRE. */
  readonly moments: { readonly sgd: number; readonly adam: number; readonly ireMask: number }
  /** Peak memory in addition to the gradients; null if unknown. */
  readonly activations: { readonly fixed: number; readonly perExample: number } | null
  /**
   * Peak of a Node process that trains on the CPU with AdamW and IRE and batches of 32 examples, or as many as the file
   * fixes, in bytes by cause; null if unknown. The loss is not included.
   */
  readonly run: RunMemory | null
}

/** The forward pass and the gradients of the trained tensors, without a loss. */
interface TrainingStep {
  /** Outputs of the model, then gradients. */
  readonly outputs: readonly Value[]
  /** Number of outputs of the model. */
  readonly forward: number
  /** Parameters that have a gradient. */
  readonly trained: ReadonlySet<Value>
}

/**
 * Builds a training step without a loss.
 * @throws OnnxIreError `not-differentiable`, and `invalid-option` for names in `recompute` that the model does not have
 */
export function buildTrainingStep(graph: Graph, names: ReadonlySet<string>, recompute?: Recompute): TrainingStep {
  const { parameters, outputs } = toFloat32(graph)
  const varied = [...parameters].flatMap(([name, value]) => (names.has(name) ? [value] : []))
  const floats = [...outputs].filter(([, y]) => isFloat(y.dtype))
  const dxs = gradients(
    floats.map(([name, y]): Seed => [y, input(`dy/${name}`, y.dtype, y.shape)]),
    varied,
  )
  const forward = floats.map(([, y]) => y)
  const results = [...forward, ...dxs.filter((dx) => dx !== null)]
  return {
    outputs: recompute === undefined ? results : withRecomputation(results, forward, recompute),
    forward: floats.length,
    trained: new Set(varied.filter((_, i) => dxs[i])),
  }
}

function withRecomputation(results: readonly Value[], forward: readonly Value[], recompute: Recompute): Value[] {
  const named = new Map(results.map((value, i) => [`${i}`, value]))
  return [...recomputeActivations(named, forward, recompute).values()]
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
 * @param modelBytes bytes of the model's tensors in memory
 */
export function estimateMemory({ step, examples }: Run, larger: Run | undefined, modelBytes: number): StepMemory {
  const trained = [...step.trained]
  const elements = totalSizeOf(trained)
  const held = leavesOf(step.outputs).filter(({ source }) => source.kind !== 'input')
  const gradients = sumBytes(trained)
  const arena = (step: TrainingStep) => peakBytes(step.outputs, constantIn(step))
  const few = Math.max(0, arena(step) - gradients)
  const slope = larger
    ? (Math.max(0, arena(larger.step) - gradients) - few) / (larger.examples - examples)
    : few / examples
  const whole = larger?.step ?? step
  const forward = whole.outputs.slice(0, whole.forward)
  const batch = leavesOf(forward).filter(({ source }) => source.kind === 'input')
  const arenas = { training: arena(whole), evaluation: peakBytes(forward, constantIn(whole)), update: 0 }
  const nodes = topological(whole.outputs).length + topological(forward).length
  return {
    parameters: sumBytes(held),
    gradients,
    moments: { sgd: gradients, adam: 2 * gradients, ireMask: elements },
    activations: Number.isNaN(slope) ? null : { fixed: Math.max(0, few - examples * slope), perExample: slope },
    run: Number.isNaN(arenas.training + arenas.evaluation)
      ? null
      : runMemory({
          model: modelBytes,
          trained: { bytes: gradients, elements },
          ...{
            nodes,
            arenas,
            optimizer: ire(adamw(), { kappa: 1, gamma: 0.8, interval: 10 }),
            copies: 0,
            batch: sumBytes(batch),
          },
        }),
  }
}

const sumBytes = (values: readonly Value[]): number => values.reduce((sum, value) => sum + countBytes(value), 0)
