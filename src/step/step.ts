import { OnnxIreError } from '../errors.js'
import { arrayOf, type Gradients, type ParameterArrays } from '../optim/arrays.js'
import { clipFactor, clippedNorm, finiteNorm } from '../optim/norm.js'
import { checkNumber, invalidOption, nonNegative, positiveCount } from '../optim/option.js'
import { clipped, displace } from './displace.js'
import { kappaAt, refreshesAt } from './ire.js'
import { type FlatMask, refreshMask } from './mask.js'
import { layers, type Optimizer } from './optimizer.js'
import { ascend } from './sam.js'
import { type ParameterSettings, planStep } from './settings.js'
import { momentsOf, type OptimizerState } from './state.js'

/**
 * What a step asks for: 'loss', the gradient of the training loss on the step's batch; 'curvature', what IRE ranks by.
 * With `curvature: 'sampled'` that is the gradient of the plain loss (mean reduction, no label smoothing) against labels
 * sampled from the model's own output; with 'hutchinson' the estimate v * Hv of the Hessian's diagonal, where H is that
 * of the loss and every element of v is -1 or 1 by a fair coin.
 */
export type GradientKind = 'loss' | 'curvature'

/** One gradient that a step needs, at `parameters`: evaluate there, and do not keep or write these arrays. */
export interface GradientRequest {
  readonly kind: GradientKind
  readonly parameters: ParameterArrays
}

/** The answer. Its arrays are read before the next request is made, never later: they may be reused for it. */
export interface GradientReply {
  readonly gradients: Gradients
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

/**
 * One training step as a generator, so that one implementation serves synchronous and asynchronous callers: it yields
 * what it needs, receives it through `next(reply)`, and returns its report. `takeStep` and `update` drive it for you.
 *
 * Requests, in this order: 'curvature' when a refresh is due; 'loss' at the parameters; with SAM 'loss' at theta + e.
 * `parameters` and `state` are written in place after the last reply, and not before: a failed request, a non-finite
 * gradient or an abandoned generator leaves both as they were.
 * @throws 'not-finite' naming the step and the tensor; 'invalid-data' for missing or misshapen gradients
 */
export function* optimizerStep(
  optimizer: Optimizer,
  parameters: ParameterArrays,
  state: OptimizerState,
  context: StepContext = {},
): Generator<GradientRequest, StepReport, GradientReply> {
  const { base, sam, ire } = layers(optimizer)
  const t = state.step
  const { lrFactor, clipNorm, clipValue, settings } = checkContext(context)
  const plan = planStep(base, parameters, settings, t)
  const { trained } = plan
  const moments = momentsOf(optimizer, parameters, state)

  const refreshed = ire !== null && refreshesAt(ire, t)
  let mask: FlatMask | null = ire ? state.mask : null
  if (refreshed && ire.curvature !== 'empirical') {
    const reply = yield { kind: 'curvature', parameters }
    normOf(plan.enhanced, reply, t, ire.curvature === 'sampled' ? 'curvature gradient' : 'curvature estimate v * Hv')
    mask = refreshMask(ire, parameters, reply.gradients, batchSizeOf(reply), mask, t, plan.enhanced)
  }

  let reply = yield { kind: 'loss', parameters }
  let norm = normOf(trained, reply, t, 'loss gradient')
  const loss = reply.loss ?? null
  if (refreshed && ire.curvature === 'empirical')
    mask = refreshMask(ire, parameters, reply.gradients, batchSizeOf(reply), mask, t, plan.enhanced)
  if (sam) {
    const ascended = ascend(sam, trained, reply.gradients, norm, state)
    reply = yield { kind: 'loss', parameters: { ...parameters, ...ascended } }
    norm = normOf(trained, reply, t, 'loss gradient after the ascent')
  }

  const lr = base.lr * lrFactor
  const kappa = ire ? kappaAt(ire, t, lrFactor) : 0
  const bounded = clipNorm < Infinity ? clippedNorm(trained, reply.gradients, norm, clipValue) : norm
  const scale = clipFactor(bounded, clipNorm)
  for (const [name, theta] of Object.entries(trained)) {
    const { t: age, lrScale, weightDecay } = plan.of(name)
    const g = clipped(arrayOf(reply.gradients, name, theta.length, 'loss gradient'), clipValue)
    const own = moments.map((moment) => moment[name]!)
    const flat = kappa > 0 && mask && Object.hasOwn(plan.enhanced, name) ? mask.flat[name] : undefined
    displace(base.displacement(age, lr * lrScale, scale, weightDecay), theta, g, own, flat, kappa)
  }
  state.mask = mask
  state.step = t + 1
  const { flatShare = 0, zeroShare = null, threshold = null } = mask ?? {}
  return { step: t, loss, gradientNorm: norm, lr, kappa, refreshed, flatShare, zeroShare, threshold }
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

const batchSizeOf = ({ batchSize = 1 }: GradientReply): number =>
  checkNumber('step', 'batchSize', batchSize, positiveCount)

/** The gradient's norm, once it and the loss are known to be finite. */
function normOf(parameters: ParameterArrays, { gradients, loss }: GradientReply, t: number, what: string): number {
  const finite = loss === undefined || Number.isFinite(loss)
  const norm = finiteNorm(parameters, gradients, finite ? `step ${t}` : `step ${t}: the loss is ${loss}`, what)
  if (finite) return norm
  throw new OnnxIreError(
    'not-finite',
    `step ${t}: the loss is ${loss} though its gradients are finite; look for bad values in the data; the parameters are unchanged`,
  )
}
