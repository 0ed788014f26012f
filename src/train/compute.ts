import type { Residence, TensorMap } from '../backend/backend.js'
import type { Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { ParameterArrays } from '../optim/arrays.js'
import type { Optimizer } from '../optim/optimizer.js'
import type { OptimizerState } from '../optim/state.js'

/** What a run trains, and where the host has it: a device's tensors begin as these arrays, which follow them when asked to. */
export interface Trained {
  readonly optimizer: Optimizer
  /** The parameters by name. */
  readonly values: ReadonlyMap<string, Value>
  /** Theirs. */
  readonly arrays: ParameterArrays
  /** Exponential moving averages of them, where they are kept. */
  readonly averages?: { readonly arrays: ParameterArrays; readonly decay: number }
}

/** A compiled graph of a training run: gradients stay where training state lives, everything else comes to the host. */
export interface GradientProgram<P, G> {
  /** Runs it at those of the parameters that it reads. */
  run(feeds: Tensors, parameters: P): Promise<{ readonly outputs: Tensors; readonly gradients: G }>
  release(): Promise<void>
}

/**
 * Where a training run computes: P stands for a full set of parameters there, G for a set of gradients. On the host both are
 * arrays, on a device its tensors; what trains need not know which.
 */
export interface Compute<P extends TensorMap, G> {
  /** Whether training and curvature are better one program than two; see `eitherGradient`. */
  readonly joins: boolean
  /** Compiles a graph; its outputs `grad/<parameter>` are the gradients. */
  compile(spec: GraphSpec): Promise<GradientProgram<P, G>>
  /** Where training state lives. A state that is not the last call's is taken over, with the host's parameters. */
  at(state: OptimizerState): Promise<Residence<P, G>>
  /** Moves the averages, where they are kept, by the step that was taken. */
  average(): Promise<void>
  /** The averages to evaluate at, where they are kept; as `at`. */
  averaged(state: OptimizerState): Promise<P>
  /** Brings the host's parameters and averages, and `state`, up to what is held here. */
  follow(state: OptimizerState): Promise<void>
  /** Parameters of the host to evaluate at: `drop` them afterwards. */
  place(arrays: ParameterArrays): Promise<P>
  drop(parameters: P): void
  /** sum + factor * gradients, in place where there is a sum; the gradients are no longer to be used. */
  accumulate(sum: G | null, gradients: G, factor: number): Promise<G>
  /** factor * sum, in place. */
  scale(sum: G, factor: number): Promise<G>
  /** Frees gradients that were used. */
  discard(gradients: G): void
  /** After a 'device-lost': starts over without programs and state; false where there is no way to. */
  renew(): Promise<boolean>
  /** Frees everything but the programs. */
  release(): Promise<void>
}

/** Of a graph's outputs, those that are gradients. */
export const isGradient = (output: string): boolean => output.startsWith('grad/')

/** Those of a set that a program reads. */
export const readBy = <T>(inputNames: readonly string[], set: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(inputNames.flatMap((name) => (Object.hasOwn(set, name) ? [[name, set[name]!]] : [])))

/** Of what gradients are called in a graph, the names of their parameters. */
export const byParameter = <T>(outputs: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(
    Object.entries(outputs).flatMap(([name, value]) => (isGradient(name) ? [[name.slice('grad/'.length), value]] : [])),
  )
