/**
 * A training backend stores the state of a training run and computes on it: host arrays (`HostBackend`), ONNX graphs on
 * any device (`OnnxBackend`), WebGPU compute shaders in a browser (`WebGpuBackend`).
 *
 * To add a backend, implement `TrainingBackend<T>`, where T is a set of tensors by parameter name in the backend's
 * memory. `compile`, `upload` and `release` connect it to the runtime, `load` and `download` copy the training state
 * between it and host arrays, and `accumulate`, `scale` and `updateAverages` are arithmetic on whole sets. A step calls
 * `refreshMask`, `ascend`, `applyUpdate` and `stats`, in this order; their arithmetic comes as formulas
 * (`updateFormula`, `ascentFormula`), which src/optim/expr compiles to WebAssembly, ONNX or WGSL, or as ONNX graphs
 * (`GraphRule`), so a backend contains no optimizer. Until `applyUpdate` a step changes nothing that a repeated step
 * would read, and if a gradient is not finite, parameters, moments and mask remain as before the step; a device that
 * only queues work reports such a gradient from `stats`. Return the backend from `createBackend` of the platform's
 * device (see `TrainingDevice`), and run test/backend against it.
 */
import type { Tensors } from '../ir/tensor.js'
import type { Value } from '../ir/value.js'
import type { GraphSpec } from '../onnx/export/export-graph.js'
import type { ParameterArrays } from '../optim/arrays.js'
import type { Rules, UpdateRule } from '../optim/base-optimizer.js'
import type { MaskRequest } from '../optim/ire/mask.js'
import type { Optimizer } from '../optim/optimizer.js'
import type { SamOptimizer } from '../optim/sam.js'
import type { Shard } from '../optim/shard.js'
import type { OptimizerState } from '../optim/state.js'
import type { Device, DeviceTensors } from '../runtime/device.js'
import type { Runtime } from '../runtime/runtime.js'

/** Tensors by parameter name, in the form in which a backend stores them. */
export type TensorMap = Readonly<Record<string, unknown>>

/** A result that may be available at once. */
type Awaitable<T> = T | Promise<T>

/** SAM's ascent to theta + e; see `sam`. */
export interface AscentRequest {
  readonly sam: SamOptimizer
  readonly step: number
  /** The updates of this step. For tensors without one, e is 0 and no part of the norm. */
  readonly tensors: readonly TensorUpdate[]
  /** The kind of gradients, for messages: 'loss gradient'. */
  readonly what: string
}

/** The update of one tensor. */
export interface TensorUpdate {
  readonly name: string
  /** The same object at every step; `updateFormula` and `updateToOnnx` build the whole update from it. */
  readonly rule: UpdateRule
  /** The number of earlier updates of this tensor. */
  readonly t: number
  /** Scalars of the rule for this tensor and step. */
  readonly coefficients: Readonly<Record<string, number>>
  /** Whether IRE may enhance the tensor. */
  readonly enhanced: boolean
}

/** The update of a step: theta <- theta + (1 + kappa n) d, and the moments. */
export interface UpdateRequest {
  readonly step: number
  /** The tensors that are trained at this step. The gradient norm is over these. */
  readonly tensors: readonly TensorUpdate[]
  readonly kappa: number
  /** Largest magnitude of a gradient element, applied before `clipNorm`; Infinity for none. */
  readonly clipValue: number
  /** Largest global norm of the gradients; Infinity for none. */
  readonly clipNorm: number
  /** The kind of gradients, for messages: 'loss gradient after the ascent'. */
  readonly what: string
}

/** Statistics of the last update. */
export interface StepStats {
  /** Global norm of the applied gradient, before clipping. */
  readonly gradientNorm: number
  /** See `FlatMask`; 0 without a mask. */
  readonly flatShare: number
  /** See `FlatMask`; null without a mask. */
  readonly zeroShare: number | null
  /** See `FlatMask`; null without a mask. */
  readonly threshold: number | null
}

/** Training state in host arrays. */
export interface TrainingState {
  readonly parameters: ParameterArrays
  /** Moments and mask. The backend ignores `step`. */
  readonly optimizer: OptimizerState
  /** Exponential moving averages of the parameters, if the run has them. */
  readonly averages?: ParameterArrays
}

/** The description of a training run that a backend is created for. */
export interface BackendSpec {
  readonly optimizer: Optimizer
  /** The trained parameters by name; their shapes are static. */
  readonly parameters: ReadonlyMap<string, Value>
  /** The update of each parameter; needed only for an optimizer that treats tensors by shape. */
  readonly rules?: Rules
  /** The share of this process, if the optimizer's state is divided among processes: only on the host. */
  readonly shard?: Shard | undefined
}

/** A compiled graph of a training run. */
export interface GradientProgram<T extends TensorMap> {
  /**
   * Runs the graph. Parameters that the graph does not read are ignored.
   * @returns the gradients (outputs `grad/<parameter>`) in the backend's memory, valid until the next run of any
   * program of the backend, and the other outputs as host tensors
   */
  run(feeds: Tensors, parameters: T): Promise<{ readonly outputs: Tensors; readonly gradients: T }>
  release(): Promise<void>
}

/** Storage and arithmetic of a training run. Every method throws `device-lost` if its device is lost. */
export interface TrainingBackend<T extends TensorMap> {
  /** Whether one program for loss and curvature gradients is better than two; see `buildConditionalGradient`. */
  readonly fusesCurvature: boolean
  /** The rules by which parameters are updated. */
  readonly rules: Rules
  /** The current parameters. Valid after `load`; read-only, until the next `applyUpdate`. */
  readonly parameters: T
  /**
   * The current numbers of the base optimizer's `estimate`; empty without it. They change in `stats`, at the latest.
   */
  readonly estimate: Readonly<Record<string, number>>
  /** The current moving averages; null if `load` got none. */
  readonly averages: T | null

  /** Compiles a graph of the run for the backend's runtime. */
  compile(spec: GraphSpec): Promise<GradientProgram<T>>

  /**
   * Takes over a training state.
   * @throws OnnxIreError `invalid-data` if the state belongs to another optimizer or other parameters
   */
  load(state: TrainingState): Awaitable<void>
  /** Writes the current training state to host arrays: those of `load`, or of the same lengths. */
  download(state: TrainingState): Awaitable<void>
  /** Copies host parameters to the backend's memory, to evaluate at. The caller releases the result. */
  upload(parameters: ParameterArrays): Awaitable<T>
  /** Frees a set of tensors: uploaded parameters or gradients. */
  release(tensors: T): void

  /**
   * Computes the mask of IRE for the next `applyUpdate` of the same step, as `refreshMask` of src/optim/ire.
   * @throws OnnxIreError `not-finite` naming the step and the tensor, `invalid-data` for missing or misshapen estimates
   */
  refreshMask(request: MaskRequest, estimates: T): Awaitable<void>
  /**
   * Computes theta + e for all parameters, valid until the next `ascend` or `applyUpdate`.
   * @throws OnnxIreError `not-finite`, `invalid-data`
   */
  ascend(request: AscentRequest, gradients: T): Awaitable<T>
  /** Updates parameters and moments. Throws as `ascend`. */
  applyUpdate(request: UpdateRequest, gradients: T): Awaitable<void>
  /**
   * Returns the statistics of the last update. Throws `not-finite` if the update found a bad gradient and was not
   * applied.
   */
  stats(): Awaitable<StepStats>
  /**
   * Throws `not-finite` if one of these gradients has NaN or infinite elements.
   * @param place the position in training, for the message: 'step 3: the loss is NaN'
   */
  checkFinite(names: readonly string[], gradients: T, place: string, what: string): Awaitable<void>

  /** sum <- sum + factor * gradients. A null sum is 0. Both sets are consumed; NaN times a factor of 0 counts as 0. */
  accumulate(sum: T | null, gradients: T, factor: number): Awaitable<T>
  /** sum <- factor * sum. The set is consumed. */
  scale(sum: T, factor: number): Awaitable<T>
  /** averages <- decay * averages + (1 - decay) * parameters. Does nothing if `load` got no averages. */
  updateAverages(decay: number): Awaitable<void>

  /**
   * Replaces a lost device. Programs and state are lost: compile and load again. Returns false if that is impossible.
   */
  recover(): Promise<boolean>
  /** Frees the training state. Programs are released on their own. */
  dispose(): Promise<void>
}

/** The part of a backend that one optimizer step uses. */
export type StepBackend<T extends TensorMap> = Pick<
  TrainingBackend<T>,
  'rules' | 'parameters' | 'estimate' | 'refreshMask' | 'ascend' | 'applyUpdate' | 'stats' | 'checkFinite'
>

/** A device with its training backend: an `OnnxBackend`, unless it has one of its own. */
export interface TrainingDevice extends Device {
  /** @throws OnnxIreError `invalid-option` if the device cannot train these parameters */
  createBackend(runtime: Runtime, spec: BackendSpec): TrainingBackend<DeviceTensors>
}

/** Whether a graph output is a gradient. */
export const isGradient = (output: string): boolean => output.startsWith('grad/')

/** The parameter that a gradient among the graph outputs belongs to. */
export const parameterOf = (gradient: string): string => gradient.slice('grad/'.length)

/** Selects the gradients among graph outputs and names them by parameter. */
export const gradientsByParameter = <V>(outputs: Readonly<Record<string, V>>): Record<string, V> =>
  Object.fromEntries(
    Object.entries(outputs).flatMap(([name, value]) => (isGradient(name) ? [[parameterOf(name), value]] : [])),
  )

/** Selects the tensors of a set that a program reads. */
export const selectInputs = <V>(inputNames: readonly string[], set: Readonly<Record<string, V>>): Record<string, V> =>
  Object.fromEntries(inputNames.flatMap((name) => (Object.hasOwn(set, name) ? [[name, set[name]!]] : [])))

/** Wraps arrays as tensors of the dtypes and shapes of `values`. */
export const toTensors = (values: ReadonlyMap<string, Value>, arrays: ParameterArrays): Tensors =>
  Object.fromEntries(
    [...values].map(([name, { dtype, shape }]) => [
      name,
      { dtype, dims: shape as readonly number[], data: arrays[name]! },
    ]),
  )
