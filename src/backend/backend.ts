import type { ParameterArrays } from '../optim/arrays.js'
import type { BaseOptimizer } from '../optim/base-optimizer.js'
import type { Formula } from '../optim/expr/expr.js'
import type { IreOptimizer } from '../optim/ire/ire.js'
import type { MaskRequest } from '../optim/ire/mask.js'
import type { SamOptimizer } from '../optim/sam.js'
import type { OptimizerState } from '../optim/state.js'

/** SAM's ascent, theta + e; see `sam`. */
export interface AscentRequest {
  readonly sam: SamOptimizer
  readonly step: number
  /** The tensors for which e is not 0, and whose gradients make the norm. */
  readonly trained: readonly string[]
  /** What the gradients are, for messages: 'loss gradient'. */
  readonly what: string
}

/** How one tensor is moved. */
export interface TensorUpdate {
  readonly name: string
  /** The scalars of the base optimizer's formula, for this tensor at this step. */
  readonly coefficients: Readonly<Record<string, number>>
  /** Whether IRE may enhance it. */
  readonly enhanced: boolean
}

/** The update of a step: theta <- theta + (1 + kappa n) d, with the moments it goes by. */
export interface UpdateRequest {
  readonly step: number
  /**
   * The base optimizer's: outputs `d` and every moment, from arrays `theta`, `g` and the moments. `updateFormula` makes the
   * whole update of it. The same object at every step.
   */
  readonly formula: Formula
  /** The tensors that are trained at this step; their gradients make the norm. */
  readonly tensors: readonly TensorUpdate[]
  readonly kappa: number
  /** Largest magnitude of a gradient's element; Infinity for none. It comes before `clipNorm`. */
  readonly clipValue: number
  /** Largest global norm; Infinity for none. */
  readonly clipNorm: number
  /** What the gradients are, for messages: 'loss gradient after the ascent'. */
  readonly what: string
}

/** What a step came to. */
export interface StepStats {
  /** The global norm of the gradient that was applied, before clipping. */
  readonly gradientNorm: number
  /** See `FlatMask`; 0, null and null before the first refresh and without IRE. */
  readonly flatShare: number
  readonly zeroShare: number | null
  readonly threshold: number | null
}

/** Parameters by name, in whatever form a residence holds them. */
export type TensorMap = Readonly<Record<string, unknown>>

/**
 * Where the parameters of a run, their moments and IRE's mask live, and the arithmetic of a step there. P stands for a full
 * set of parameters to evaluate at, by name, G for a set of gradients; only who computes gradients looks inside.
 *
 * A step calls, in this order: `refresh` where one is due, `ascend` where there is SAM, `apply`, `numbers`. Until `apply`
 * nothing changes that a step begun anew would see. On a device calls may only be queued: what they find wrong is then
 * thrown by `numbers`, and parameters, moments and mask are as before the step.
 *
 * Throws 'not-finite' naming the step and the tensor, 'invalid-data' for missing or misshapen gradients.
 */
export interface Residence<P extends TensorMap, G> {
  /** The parameters as they are now, to evaluate at; not to be written to or kept. */
  readonly parameters: P
  /** Ranks by `estimates` and makes the mask that the next `apply` uses; F is that of `refreshMask`. */
  refresh(refresh: MaskRequest, estimates: G): void | Promise<void>
  /** theta + e, of all parameters, valid until the next `ascend` or `apply`. */
  ascend(ascent: AscentRequest, gradients: G): P | Promise<P>
  apply(application: UpdateRequest, gradients: G): void | Promise<void>
  /** What the last `apply` came to. */
  numbers(): StepStats | Promise<StepStats>
  /**
   * Throws 'not-finite' where one of these gradients is, so that an error about the loss can name the tensor. Without it
   * the error names the loss only.
   * @param place where we are, for the message: 'step 3: the loss is NaN'
   */
  requireFinite?(names: readonly string[], gradients: G, place: string, what: string): void | Promise<void>
}

/** What a residence on a device is made for. */
export interface ResidenceSpec {
  readonly base: BaseOptimizer
  readonly ire: IreOptimizer | null
  /** The dims of every parameter; all are float32. */
  readonly parameters: Readonly<Record<string, readonly number[]>>
}

/** A residence on a device, T being sets of its tensors: what is on the host follows when it is asked to. */
export interface DeviceResidence<T extends TensorMap> extends Residence<T, T> {
  /** Takes over parameters and state; `state.step` stays the caller's. */
  load(parameters: ParameterArrays, state: OptimizerState): Promise<void>
  /** Writes to these arrays, and to `state.mask`, what the device holds. */
  store(parameters: ParameterArrays, state: OptimizerState): Promise<void>
  /** Frees what it holds. */
  release(): Promise<void>
}
