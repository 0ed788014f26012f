import { type FloatArray, mapArrays } from '../ir/float-array.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import { checkBaseOptimizer, coefficientsOf, type UpdateRule } from '../optim/base-optimizer.js'
import { kappaAt, refreshesAt } from '../optim/ire/ire.js'
import { type Optimizer, unwrap } from '../optim/optimizer.js'
import { type ParameterSettings, planStep, type TensorPlan } from '../optim/parameter-settings.js'
import { ascendsAt } from '../optim/sam.js'
import { cloneState, initialState, type OptimizerState } from '../optim/state.js'
import { checkNumber, invalidOption, nonNegative, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { StepBackend, TensorMap, TensorUpdate } from './backend.js'
import { HostStepBackend } from './host.js'

/**
 * The gradient that a step requests. 'loss': the gradient of the training loss on the step's batch. 'curvature': the
 * estimates that IRE ranks. With `curvature: 'sampled'` these are the gradient of the plain loss (mean reduction, no
 * label smoothing) against labels sampled from the model's output; with 'hutchinson' the estimate v * Hv of the
 * Hessian's diagonal, with H of the training loss and v of random -1 and 1.
 */
export type GradientKind = 'loss' | 'curvature'

/** A request for one gradient at `parameters`, which are read-only and valid until the reply. */
export interface GradientRequest<T = ParameterArrays> {
  readonly kind: GradientKind
  readonly parameters: T
}

/** The reply to a gradient request. Its arrays are read before the next request and may be reused for it. */
export interface GradientReply<T = Gradients> {
  readonly gradients: T
  /** The loss at these parameters. The step checks that it is finite; the first one is in the step's report. */
  readonly loss?: number
  /** The number of samples whose mean a curvature gradient is (B in h = B g^2); default 1. */
  readonly batchSize?: number
}

/**
 * Computes one gradient at `parameters`. With SAM, the second call of a step has other parameters than the trained
 * ones.
 */
export type GradientFunction<T = ParameterArrays> = (
  kind: GradientKind,
  parameters: T,
) => GradientReply<T> | Promise<GradientReply<T>>

/** Options of one step. */
export interface StepContext {
  /** The schedule's factor on the learning rate; default 1. */
  readonly lrFactor?: number
  /**
   * Largest global norm of the gradient that the base optimizer gets; default none. As `torch.nn.utils.clip_grad_norm_`
   * right before `optimizer.step()`: with SAM this is the second gradient. SAM's ascent, the curvature gradient and the
   * enhancement are never clipped.
   */
  readonly clipNorm?: number
  /**
   * Largest magnitude of an element of the gradient that the base optimizer gets; default none. As
   * `torch.nn.utils.clip_grad_value_`; applied before `clipNorm`, to the same gradient.
   */
  readonly clipValue?: number
  /** Settings of single tensors, by parameter name. */
  readonly settings?: Readonly<Record<string, ParameterSettings>>
}

/** The result of one step. */
export interface StepReport {
  /** The step, from 0. */
  readonly step: number
  /** The training loss before the step; null if the gradient function returned none. */
  readonly loss: number | null
  /** Global norm of the gradient that the base optimizer got, before clipping. */
  readonly gradientNorm: number
  /** Learning rate of tensors whose `lrScale` is 1. */
  readonly lr: number
  /** The enhancement of this step: 0 without IRE and during its warm-up. */
  readonly kappa: number
  /** Whether this step refreshed the mask. */
  readonly refreshed: boolean
  /** Flat share of the coordinates that IRE may enhance; 0 before the first refresh. */
  readonly flatShare: number
  /** Share of these coordinates with curvature 0; null before the first refresh. */
  readonly zeroShare: number | null
  /** The largest curvature F of a flat coordinate; null before the first refresh. */
  readonly threshold: number | null
}

/**
 * One training step as a generator, so that synchronous and asynchronous callers share one implementation. It yields
 * gradient requests and the promises of the backend, receives the replies and the values of the promises through
 * `next`, and returns the report.
 *
 * Requests, in this order: 'curvature' if a mask refresh is due; 'loss' at the parameters; with SAM 'loss' at theta +
 * e.
 * @param t the step, from 0
 * @throws OnnxIreError `not-finite` naming the step and the tensor; `invalid-data` for missing or misshapen gradients
 */
export function* optimizerStep<T extends TensorMap>(
  backend: StepBackend<T>,
  optimizer: Optimizer,
  t: number,
  context: StepContext = {},
): Generator<GradientRequest<T> | Promise<unknown>, StepReport, unknown> {
  const { base, sam, ire } = unwrap(optimizer)
  checkBaseOptimizer(base)
  const { lrFactor, clipNorm, clipValue, settings } = checkContext(context)
  const { parameters } = backend
  const plan = planStep(base, Object.keys(parameters), settings, t)
  const { trained, enhanced: ranked } = plan
  const lr = base.lr * lrFactor
  const kappa = ire ? kappaAt(ire, t, lrFactor) : 0
  const enhanced = new Set(ranked)
  const coefficients = coefficientCache(base.name, lr, backend.estimate)
  const tensors = trained.map((name) => ({
    name,
    rule: backend.rules(name),
    t: plan.of(name).t,
    coefficients: coefficients(backend.rules(name), plan.of(name)),
    enhanced: enhanced.has(name),
  }))

  const refreshed = ire !== null && refreshesAt(ire, t)
  const refresh = (what: string, { gradients, batchSize = 1 }: GradientReply<T>) => {
    checkNumber('step', 'batchSize', batchSize, positiveCount)
    return wait(backend.refreshMask({ ire: ire!, step: t, batchSize, ranked, what }, gradients))
  }
  const request = (kind: GradientKind, at: T, what: string, names: readonly string[]) =>
    requestGradient(backend, { kind, parameters: at }, `step ${t}`, what, names)

  if (refreshed && ire.curvature !== 'empirical') {
    const what = ire.curvature === 'sampled' ? 'curvature gradient' : 'curvature estimate v * Hv'
    yield* refresh(what, yield* request('curvature', parameters, what, ranked))
  }
  let what = 'loss gradient'
  let reply = yield* request('loss', parameters, what, trained)
  const loss = reply.loss ?? null
  if (refreshed && ire.curvature === 'empirical') yield* refresh(what, reply)
  if (sam && ascendsAt(sam, t)) {
    const ascended = yield* wait(backend.ascend({ sam, step: t, tensors, what }, reply.gradients))
    what = 'loss gradient after the ascent'
    reply = yield* request('loss', ascended, what, trained)
  }
  const update = { step: t, tensors, kappa, clipValue, clipNorm, what }
  yield* wait(backend.applyUpdate(update, reply.gradients))
  return { step: t, loss, lr, kappa, refreshed, ...(yield* wait(backend.stats())) }
}

/**
 * Takes one step on a backend.
 * @param step the step, from 0; the caller counts
 * @throws OnnxIreError `not-finite`, `invalid-data`, `invalid-option`, and errors of `gradient` and of the backend
 */
export async function runStep<T extends TensorMap>(
  backend: StepBackend<T>,
  optimizer: Optimizer,
  step: number,
  gradient: GradientFunction<T>,
  context: StepContext = {},
): Promise<StepReport> {
  const generator = optimizerStep(backend, optimizer, step, context)
  let next = generator.next()
  while (!next.done) {
    const pending = next.value
    next = generator.next(await (pending instanceof Promise ? pending : gradient(pending.kind, pending.parameters)))
  }
  return next.value
}

/**
 * Takes one step on plain arrays, in place. Calls `gradient` for 'curvature' if a refresh of IRE's mask is due, for
 * 'loss' at the parameters, and with SAM for 'loss' at theta + e. If `gradient` throws or returns values that are not
 * finite, `parameters` and `state` remain as before.
 * @throws OnnxIreError `not-finite`, `invalid-data`, `invalid-option`, and errors of `gradient`
 */
export async function takeStep(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  state: OptimizerState,
  gradient: GradientFunction,
  context: StepContext = {},
): Promise<StepReport> {
  const backend = new HostStepBackend(optimizer, { parameters, optimizer: state })
  const report = await runStep(backend, optimizer, state.step, gradient, context)
  state.step = report.step + 1
  return report
}

/** Input of `update`. */
export interface UpdateInput extends StepContext {
  readonly optimizer: Optimizer
  readonly parameters: ParameterArrays
  /** The gradient of the loss. SAM needs it at a second point: give a function of the parameters. */
  readonly gradients: Gradients | ((parameters: ParameterArrays) => Gradients)
  /**
   * The estimates that IRE ranks: needed if `isCurvatureDue`, otherwise ignored. With `curvature: 'sampled'` the
   * gradient against sampled labels, which is squared; with 'hutchinson' v * Hv, which is used as it is.
   */
  readonly curvature?: Gradients | ((parameters: ParameterArrays) => Gradients)
  /**
   * B, the number of samples whose mean `curvature` is; default 1. It scales F and does not change the ranking. Ignored
   * with 'hutchinson'.
   */
  readonly batchSize?: number
  /** The state of the previous update; left out at the first. */
  readonly state?: OptimizerState
}

/** Result of `update`. All arrays are new. */
export interface Update {
  readonly parameters: Record<string, FloatArray>
  readonly state: OptimizerState
  readonly report: StepReport
}

/**
 * Computes one optimizer step on plain arrays, without a model. A pure function: nothing given is written to.
 *
 * @throws OnnxIreError `invalid-option` if curvature gradients are due and missing, or SAM gets arrays instead of a
 *   function; `invalid-data` for missing or misshapen arrays; `not-finite` naming the step and the tensor
 */
export function update(input: UpdateInput): Update {
  const { optimizer, batchSize = 1 } = input
  if (unwrap(optimizer).sam && typeof input.gradients !== 'function')
    throw new OnnxIreError(
      'invalid-option',
      'update: SAM needs a second gradient, at theta + e: give `gradients` as a function of the parameters, or use takeStep',
    )
  const parameters = mapArrays(input.parameters, (array) => array.slice())
  const state = input.state ? cloneState(input.state) : initialState(optimizer, parameters)
  const backend = new HostStepBackend(optimizer, { parameters, optimizer: state })
  const generator = optimizerStep(backend, optimizer, state.step, input)
  let next = generator.next()
  // The host backend returns no promises, so only gradient requests are yielded.
  while (!next.done)
    next = generator.next({ gradients: replyFrom(input, next.value as GradientRequest, state.step), batchSize })
  state.step = next.value.step + 1
  return { parameters, state, report: next.value }
}

function replyFrom(
  { optimizer, gradients, curvature }: UpdateInput,
  { kind, parameters }: GradientRequest,
  step: number,
): Gradients {
  const source = kind === 'curvature' ? curvature : gradients
  if (source === undefined) {
    const estimates =
      unwrap(optimizer).ire?.curvature === 'hutchinson'
        ? "v * Hv, the estimate of the Hessian's diagonal"
        : "the gradients against labels sampled from the model's own output"
    throw new OnnxIreError(
      'invalid-option',
      `update: step ${step} refreshes IRE's mask and needs \`curvature\`: ${estimates}; check isCurvatureDue(optimizer, state) before each update, or set curvature: 'empirical'`,
    )
  }
  return typeof source === 'function' ? source(parameters) : source
}

/** Whether the next step requests a 'curvature' gradient. */
export function isCurvatureDue(optimizer: Optimizer, state: OptimizerState): boolean {
  const { ire } = unwrap(optimizer)
  return ire !== null && ire.curvature !== 'empirical' && refreshesAt(ire, state.step)
}

/** Returns the coefficients of a tensor's rule and plan: one object for all tensors with equal ones. */
function coefficientCache(optimizer: string, lr: number, estimate: StepBackend<TensorMap>['estimate']) {
  const known: (TensorPlan & { readonly rule: UpdateRule; readonly coefficients: TensorUpdate['coefficients'] })[] = []
  return (rule: UpdateRule, { t, lrScale, weightDecay }: TensorPlan): TensorUpdate['coefficients'] => {
    const same = known.find(
      (other) => other.rule === rule && other.t === t && other.lrScale === lrScale && other.weightDecay === weightDecay,
    )
    if (same) return same.coefficients
    const coefficients = coefficientsOf(optimizer, rule, t, lr * lrScale, weightDecay, estimate)
    known.push({ rule, t, lrScale, weightDecay, coefficients })
    return coefficients
  }
}

/** Yields a promise and returns its value; returns other values at once. */
function* wait<T>(result: T | Promise<T>): Generator<Promise<unknown>, T, unknown> {
  return result instanceof Promise ? ((yield result) as T) : result
}

/** Yields a request and returns the reply, after checking that its loss is finite. */
function* requestGradient<T extends TensorMap>(
  backend: StepBackend<T>,
  request: GradientRequest<T>,
  place: string,
  what: string,
  names: readonly string[],
): Generator<GradientRequest<T> | Promise<unknown>, GradientReply<T>, unknown> {
  const reply = (yield request) as GradientReply<T>
  const { gradients, loss } = reply
  if (loss === undefined || Number.isFinite(loss)) return reply
  // An error about the gradients names the tensor.
  yield* wait(backend.checkFinite(names, gradients, `${place}: the loss is ${loss}`, what))
  throw new OnnxIreError(
    'not-finite',
    `${place}: the loss is ${loss} though its gradients are finite; look for bad values in the data, and for infinite logits of a teacher; the parameters are unchanged`,
  )
}

function checkContext({ lrFactor = 1, clipNorm = Infinity, clipValue = Infinity, settings = {} }: StepContext) {
  checkNumber('step', 'lrFactor', lrFactor, nonNegative)
  for (const [name, limit] of Object.entries({ clipNorm, clipValue }))
    if (!(limit > 0)) throw invalidOption('step', name, limit, 'a number > 0')
  return { lrFactor, clipNorm, clipValue, settings }
}
