import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import type { BaseOptimizer } from '../optim/base.js'
import { checkNumber, invalidOption, nonNegative, positiveCount } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { checkBase, factorsOf } from './check-base.js'
import { kappaAt, refreshesAt } from './ire.js'
import { layers, type Optimizer } from './optimizer.js'
import type { Named, Residence, TensorUpdate } from './residence.js'
import { type ParameterSettings, planStep, type TensorPlan } from './settings.js'
import type { OptimizerState } from './state.js'

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
export function* optimizerStep<P extends Named, G>(
  residence: Residence<P, G>,
  optimizer: Optimizer,
  t: number,
  context: StepContext = {},
): Generator<Wanted<P>, StepReport, unknown> {
  const { base, sam, ire } = layers(optimizer)
  checkBase(base)
  const { lrFactor, clipNorm, clipValue, settings } = checkContext(context)
  const { parameters } = residence
  const plan = planStep(base, Object.keys(parameters), settings, t)
  const { trained, enhanced: ranked } = plan
  const lr = base.lr * lrFactor
  const kappa = ire ? kappaAt(ire, t, lrFactor) : 0
  const enhanced = new Set(ranked)
  const factors = factorsBy(base, lr)
  const tensors = trained.map((name) => ({ name, factors: factors(plan.of(name)), enhanced: enhanced.has(name) }))

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

/** The factors of a tensor by its plan: one object for all that have the same. */
function factorsBy(base: BaseOptimizer, lr: number): (plan: TensorPlan) => TensorUpdate['factors'] {
  const known: (TensorPlan & { readonly factors: TensorUpdate['factors'] })[] = []
  return ({ t, lrScale, weightDecay }) => {
    const same = known.find((other) => other.t === t && other.lrScale === lrScale && other.weightDecay === weightDecay)
    if (same) return same.factors
    const factors = factorsOf(base, t, lr * lrScale, weightDecay)
    known.push({ t, lrScale, weightDecay, factors })
    return factors
  }
}

/** What was begun, once it is there. */
function* settled<T>(begun: T | Promise<T>): Generator<Promise<unknown>, T, unknown> {
  return begun instanceof Promise ? ((yield begun) as T) : begun
}

/** The reply to a request, its loss known to be finite. */
function* answered<P extends Named, G>(
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
  const { ire } = layers(optimizer)
  return ire !== null && ire.curvature !== 'empirical' && refreshesAt(ire, state.step)
}

function checkContext({ lrFactor = 1, clipNorm = Infinity, clipValue = Infinity, settings = {} }: StepContext) {
  checkNumber('step', 'lrFactor', lrFactor, nonNegative)
  for (const [name, limit] of Object.entries({ clipNorm, clipValue }))
    if (!(limit > 0)) throw invalidOption('step', name, limit, 'a number > 0')
  return { lrFactor, clipNorm, clipValue, settings }
}
