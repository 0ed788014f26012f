import { OnnxIreError } from '../errors.js'
import type { Gradients, ParameterArrays } from '../optim/arrays.js'
import { clipFactor, finiteNorm } from '../optim/norm.js'
import { checkNumber, invalidOption, nonNegative, positiveCount } from '../optim/option.js'
import { displace } from './displace.js'
import { kappaAt, refreshesAt } from './ire.js'
import { type FlatMask, refreshMask } from './mask.js'
import { layers, type Optimizer } from './optimizer.js'
import { ascend } from './sam.js'
import { momentsOf, type OptimizerState } from './state.js'

/**
 * What a step asks for: 'loss', the gradient of the training loss on the step's batch; 'curvature', the gradient of the
 * plain loss (mean reduction, no label smoothing) against labels sampled from the model's own output.
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
}

/** What a step did. */
export interface StepReport {
  /** Which step this was, from 0. */
  readonly step: number
  /** The training loss before the step, where the caller gave it. */
  readonly loss: number | null
  /** The global norm of the gradient the base optimizer got, before clipping. */
  readonly gradientNorm: number
  /** The learning rate of this step. */
  readonly lr: number
  /** The enhancement of this step: 0 without IRE and during its warm-up. */
  readonly kappa: number
  /** Whether this step renewed the mask. */
  readonly refreshed: boolean
  /** The share of coordinates that are flat; 0 before the first refresh. */
  readonly flatShare: number
  /** The share of coordinates whose curvature is exactly 0; null before the first refresh. */
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
  const { lrFactor, clipNorm } = checkContext(context)
  const moments = momentsOf(optimizer, parameters, state)

  const refreshed = ire !== null && refreshesAt(ire, t)
  let mask: FlatMask | null = ire ? state.mask : null
  if (refreshed && ire.curvature === 'sampled') {
    const reply = yield { kind: 'curvature', parameters }
    normOf(parameters, reply, t, 'curvature gradient')
    mask = refreshMask(ire, parameters, reply.gradients, batchSizeOf(reply), mask, t)
  }

  let reply = yield { kind: 'loss', parameters }
  let norm = normOf(parameters, reply, t, 'loss gradient')
  const loss = reply.loss ?? null
  if (refreshed && ire.curvature === 'empirical')
    mask = refreshMask(ire, parameters, reply.gradients, batchSizeOf(reply), mask, t)
  if (sam) {
    reply = yield { kind: 'loss', parameters: ascend(sam, parameters, reply.gradients, norm, state) }
    norm = normOf(parameters, reply, t, 'loss gradient after the ascent')
  }

  const lr = base.lr * lrFactor
  const kappa = ire ? kappaAt(ire, t, lrFactor) : 0
  const flat = kappa > 0 && mask ? mask.flat : null
  const displacement = base.displacement(t, lr, clipFactor(norm, clipNorm))
  displace(displacement, parameters, reply.gradients, moments, flat, kappa)
  state.mask = mask
  state.step = t + 1
  const { flatShare = 0, zeroShare = null, threshold = null } = mask ?? {}
  return { step: t, loss, gradientNorm: norm, lr, kappa, refreshed, flatShare, zeroShare, threshold }
}

/** Whether the next step will ask for a 'curvature' gradient. */
export function curvatureDue(optimizer: Optimizer, state: OptimizerState): boolean {
  const { ire } = layers(optimizer)
  return ire !== null && ire.curvature === 'sampled' && refreshesAt(ire, state.step)
}

function checkContext({ lrFactor = 1, clipNorm = Number.POSITIVE_INFINITY }: StepContext) {
  checkNumber('step', 'lrFactor', lrFactor, nonNegative)
  if (!(clipNorm > 0)) throw invalidOption('step', 'clipNorm', clipNorm, 'a number > 0')
  return { lrFactor, clipNorm }
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
