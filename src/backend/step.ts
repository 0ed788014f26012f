import { type FloatArray, mapArrays } from '../ir/float-array.js'
import { needed } from '../needed.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import { type BaseOptimizer, checkBaseOptimizer, coefficientsOf } from '../optim/base-optimizer.js'
import { kappaAt, refreshesAt } from '../optim/ire/ire.js'
import { type Optimizer, unwrap } from '../optim/optimizer.js'
import { type ParameterSettings, planStep, type TensorPlan } from '../optim/parameter-settings.js'
import { cloneState, initialState, type OptimizerState } from '../optim/state.js'
import { checkNumber, invalidOption, nonNegative, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import type { Residence, TensorMap, TensorUpdate } from './backend.js'
import { ArrayResidence } from './host.js'

/**
 * What a step asks for: 'loss', the gradient of the training loss on the step's batch; 'curvature', what IRE ranks by.
 * With `curvature: 'sampled'` that is the gradient of the plain loss (mean reduction, no label smoothing) against labels
 * sampled from the model's own output; with 'hutchinson' the estimate v * Hv of the Hessian's diagonal, where H is that
 * of the loss and every element of v is -1 or 1 by a fair coin.
 */
export type GradientKind = 'loss' | 'curvature'

/** One gradient that a step needs, at `parameters`: evaluate there, and do not keep or write these arrays. */
export interface GradientRequest<P = ParameterArrays> {
  readonly kind: GradientKind
  readonly parameters: P
}

/** The answer. Its arrays are read before the next request is made, never later: they may be reused for it. */
export interface GradientReply<G = Gradients> {
  readonly gradients: G
  /** The loss there; the step checks that it is finite and passes the first one on in its report. */
  readonly loss?: number
  /** The number of samples a curvature gradient is the mean over (the factor B of h = B g^2); default 1. */
  readonly batchSize?: number
}

/** What a step is told from outside. */
export interface StepContext {
  /** The schedule's factor on the learning rate; default 1. */
  readonly lrFactor?: number
  /**
   * The largest global norm of the gradient that reaches the base optimizer; default none. As with
   * `torch.nn.utils.clip_grad_norm_` right before `optimizer.step()`: with SAM that is the second gradient. SAM's ascent,
   * the curvature gradient and the enhancement are never clipped.
   */
  readonly clipNorm?: number
  /**
   * The largest magnitude of an element of the gradient that reaches the base optimizer; default none. As with
   * `torch.nn.utils.clip_grad_value_`, before `clipNorm`, and of the same gradient.
   */
  readonly clipValue?: number
  /** By parameter name, for tensors that are trained unlike the others. */
  readonly settings?: Readonly<Record<string, ParameterSettings>>
}

/** What a step did. */
export interface StepReport {
  /** Which step this was, from 0. */
  readonly step: number
  /** The training loss before the step, where the caller gave it. */
  readonly loss: number | null
  /** The global norm of the gradient the base optimizer got, before clipping. */
  readonly gradientNorm: number
  /** The learning rate of this step, of tensors whose `lrScale` is 1. */
  readonly lr: number
  /** The enhancement of this step: 0 without IRE and during its warm-up. */
  readonly kappa: number
  /** Whether this step renewed the mask. */
  readonly refreshed: boolean
  /** The share of the coordinates IRE may enhance that are flat; 0 before the first refresh. */
  readonly flatShare: number
  /** The share of the same whose curvature is exactly 0; null before the first refresh. */
  readonly zeroShare: number | null
  /** The curvature F up to which a coordinate is flat; null before the first refresh. */
  readonly threshold: number | null
}

/** What a step waits for: a gradient, or what a residence has begun. */
export type Wanted<P> = GradientRequest<P> | Promise<unknown>

/**
 * One training step of a residence as a generator, so that one implementation serves synchronous and asynchronous callers:
 * it yields what it waits for, receives the reply or the promise's value through `next`, and returns its report.
 *
 * Requests, in this order: 'curvature' when a refresh is due; 'loss' at the parameters; with SAM 'loss' at theta + e.
 * @param t the step, from 0
 * @throws 'not-finite' naming the step and the tensor; 'invalid-data' for missing or misshapen gradients
 */
export function* optimizerStep<P extends TensorMap, G>(
  residence: Residence<P, G>,
  optimizer: Optimizer,
  t: number,
  context: StepContext = {},
): Generator<Wanted<P>, StepReport, unknown> {
  const { base, sam, ire } = unwrap(optimizer)
  checkBaseOptimizer(base)
  const { lrFactor, clipNorm, clipValue, settings } = checkContext(context)
  const { parameters } = residence
  const plan = planStep(base, Object.keys(parameters), settings, t)
  const { trained, enhanced: ranked } = plan
  const lr = base.lr * lrFactor
  const kappa = ire ? kappaAt(ire, t, lrFactor) : 0
  const enhanced = new Set(ranked)
  const coefficients = coefficientsBy(base, lr)
  const tensors = trained.map((name) => ({
    name,
    coefficients: coefficients(plan.of(name)),
    enhanced: enhanced.has(name),
  }))

  const refreshed = ire !== null && refreshesAt(ire, t)
  const refresh = (what: string, { gradients, batchSize = 1 }: GradientReply<G>) => {
    checkNumber('step', 'batchSize', batchSize, positiveCount)
    return settled(residence.refresh({ ire: ire!, step: t, batchSize, ranked, what }, gradients))
  }
  const ask = (kind: GradientKind, at: P, what: string, names: readonly string[]) =>
    answered(residence, { kind, parameters: at }, `step ${t}`, what, names)

  if (refreshed && ire.curvature !== 'empirical') {
    const what = ire.curvature === 'sampled' ? 'curvature gradient' : 'curvature estimate v * Hv'
    yield* refresh(what, yield* ask('curvature', parameters, what, ranked))
  }
  let what = 'loss gradient'
  let reply = yield* ask('loss', parameters, what, trained)
  const loss = reply.loss ?? null
  if (refreshed && ire.curvature === 'empirical') yield* refresh(what, reply)
  if (sam) {
    const ascended = yield* settled(residence.ascend({ sam, step: t, trained, what }, reply.gradients))
    what = 'loss gradient after the ascent'
    reply = yield* ask('loss', ascended, what, trained)
  }
  const application = { step: t, formula: base.formula, tensors, kappa, clipValue, clipNorm, what }
  yield* settled(residence.apply(application, reply.gradients))
  return { step: t, loss, lr, kappa, refreshed, ...(yield* settled(residence.numbers())) }
}

/** The coefficients of a tensor by its plan: one object for all that have the same. */
function coefficientsBy(base: BaseOptimizer, lr: number): (plan: TensorPlan) => TensorUpdate['coefficients'] {
  const known: (TensorPlan & { readonly coefficients: TensorUpdate['coefficients'] })[] = []
  return ({ t, lrScale, weightDecay }) => {
    const same = known.find((other) => other.t === t && other.lrScale === lrScale && other.weightDecay === weightDecay)
    if (same) return same.coefficients
    const coefficients = coefficientsOf(base, t, lr * lrScale, weightDecay)
    known.push({ t, lrScale, weightDecay, coefficients })
    return coefficients
  }
}

/** What was begun, once it is there. */
function* settled<T>(begun: T | Promise<T>): Generator<Promise<unknown>, T, unknown> {
  return begun instanceof Promise ? ((yield begun) as T) : begun
}

/** The reply to a request, its loss known to be finite. */
function* answered<P extends TensorMap, G>(
  residence: Residence<P, G>,
  request: GradientRequest<P>,
  place: string,
  what: string,
  names: readonly string[],
): Generator<Wanted<P>, GradientReply<G>, unknown> {
  const reply = (yield request) as GradientReply<G>
  const { gradients, loss } = reply
  if (loss === undefined || Number.isFinite(loss)) return reply
  yield* settled(residence.requireFinite?.(names, gradients, `${place}: the loss is ${loss}`, what))
  throw new OnnxIreError(
    'not-finite',
    `${place}: the loss is ${loss} though its gradients are finite; look for bad values in the data; the parameters are unchanged`,
  )
}

/** Whether the next step will ask for a 'curvature' gradient. */
export function curvatureDue(optimizer: Optimizer, state: OptimizerState): boolean {
  const { ire } = unwrap(optimizer)
  return ire !== null && ire.curvature !== 'empirical' && refreshesAt(ire, state.step)
}

function checkContext({ lrFactor = 1, clipNorm = Infinity, clipValue = Infinity, settings = {} }: StepContext) {
  checkNumber('step', 'lrFactor', lrFactor, nonNegative)
  for (const [name, limit] of Object.entries({ clipNorm, clipValue }))
    if (!(limit > 0)) throw invalidOption('step', name, limit, 'a number > 0')
  return { lrFactor, clipNorm, clipValue, settings }
}

/** Computes one gradient at `parameters`, which differ from the trained ones on SAM's second call. */
export type GradientFunction<P = ParameterArrays, G = Gradients> = (
  kind: GradientKind,
  parameters: P,
) => GradientReply<G> | Promise<GradientReply<G>>

/**
 * Takes one step in place, asking `gradient` for what it needs, in this order: 'curvature' when a refresh of IRE's mask is
 * due; 'loss' at the parameters; with SAM 'loss' at theta + e. When `gradient` fails, or what it returns is not finite,
 * `parameters` and `state` are as before.
 * @throws 'not-finite', 'invalid-data', 'invalid-option', and whatever `gradient` throws
 */
export async function takeStep(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  state: OptimizerState,
  gradient: GradientFunction,
  context: StepContext = {},
): Promise<StepReport> {
  // A device does without.
  const { ArrayResidence } = await needed(import('./host.js'))
  const residence = new ArrayResidence(optimizer, parameters, state)
  const report = await takeStepIn(residence, optimizer, state.step, gradient, context)
  state.step = report.step + 1
  return report
}

/**
 * Takes one step where parameters, moments and mask live; `takeStep` is the case of plain arrays.
 * @param step which one, from 0; to count is the caller's
 * @throws 'not-finite', 'invalid-data', 'invalid-option', and whatever `gradient` and the residence throw
 */
export async function takeStepIn<P extends TensorMap, G>(
  residence: Residence<P, G>,
  optimizer: Optimizer,
  step: number,
  gradient: GradientFunction<P, G>,
  context: StepContext = {},
): Promise<StepReport> {
  const course = optimizerStep(residence, optimizer, step, context)
  let next = course.next()
  while (!next.done) {
    const wanted = next.value
    next = course.next(await (wanted instanceof Promise ? wanted : gradient(wanted.kind, wanted.parameters)))
  }
  return next.value
}

/** What one `update` takes. */
export interface UpdateInput extends StepContext {
  readonly optimizer: Optimizer
  readonly parameters: ParameterArrays
  /** The gradient of the loss; for SAM, which needs it at a second point too, a function of the parameters. */
  readonly gradients: Gradients | ((parameters: ParameterArrays) => Gradients)
  /**
   * What IRE ranks by, needed when `curvatureDue` and ignored otherwise: with `curvature: 'sampled'` the gradient against
   * sampled labels, which is squared; with 'hutchinson' v * Hv, which is taken as it is.
   */
  readonly curvature?: Gradients | ((parameters: ParameterArrays) => Gradients)
  /**
   * B, the number of samples `curvature` is the mean over; default 1. It scales F and does not change the ranking; with
   * 'hutchinson' it plays no part.
   */
  readonly batchSize?: number
  /** From the previous update; left out on the first. */
  readonly state?: OptimizerState
}

/** What one `update` returns: new arrays throughout, the given ones are untouched. */
export interface Update {
  readonly parameters: Record<string, FloatArray>
  readonly state: OptimizerState
  readonly report: StepReport
}

/**
 * One optimizer step over plain arrays, without a model: from parameters and gradients to new parameters and a new state.
 * It is a pure function: the same input gives the same output, and nothing given is written to.
 *
 * @throws 'invalid-option' when curvature gradients are due and not given, or SAM is given arrays instead of a function;
 *   'invalid-data' for missing or misshapen arrays; 'not-finite' naming the step and the tensor
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
  const residence = new ArrayResidence(optimizer, parameters, state)
  const course = optimizerStep(residence, optimizer, state.step, input)
  let next = course.next()
  // Arrays are here and now: no promise is ever among what is wanted.
  while (!next.done)
    next = course.next({ gradients: answer(input, next.value as GradientRequest, state.step), batchSize })
  state.step = next.value.step + 1
  return { parameters, state, report: next.value }
}

function answer(
  { optimizer, gradients, curvature }: UpdateInput,
  { kind, parameters }: GradientRequest,
  step: number,
): Gradients {
  const source = kind === 'curvature' ? curvature : gradients
  const needed =
    unwrap(optimizer).ire?.curvature === 'hutchinson'
      ? "v * Hv, the estimate of the Hessian's diagonal"
      : "the gradients against labels sampled from the model's own output"
  if (source === undefined)
    throw new OnnxIreError(
      'invalid-option',
      `update: step ${step} refreshes IRE's mask and needs \`curvature\`: ${needed}; curvatureDue(optimizer, state) tells when, and curvature: 'empirical' does without`,
    )
  return typeof source === 'function' ? source(parameters) : source
}
