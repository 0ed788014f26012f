import { type FloatArray, mapArrays, zeroArrayLike, zeroMaskLike } from '../../ir/float-array.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { arrayOf, type Gradients, type ParameterArrays } from '../arrays.js'
import { evaluate } from '../expr/evaluate.js'
import { array, type Expr, type Formula, formula, scalar } from '../expr/expr.js'
import type { ParallelEvaluation } from '../expr/parallel.js'
import { notFiniteError } from '../gradient-norm.js'
import { type Counting, countAlone } from './counting.js'
import type { IreOptimizer } from './ire.js'
import { type Selection, select } from './radix-select.js'

/** IRE's mask of flat coordinates with its statistics. Immutable; a refresh creates a new mask. */
export interface FlatMask {
  /** A byte per coordinate of a parameter: 1 for flat ones, 0 for sharp ones and in tensors that IRE does not enhance. */
  readonly flat: Readonly<Record<string, Uint8Array>>
  /** F per parameter, in the parameter's precision, if `beta` > 0; otherwise null. */
  readonly curvature: Readonly<Record<string, FloatArray>> | null
  /** The step of the refresh. */
  readonly refreshedAt: number
  /** The largest F that counts as flat. */
  readonly threshold: number
  /** Flat share of all ranked coordinates: about gamma, more if many tie with the threshold. */
  readonly flatShare: number
  /** Share of all ranked coordinates with F = 0. If it exceeds gamma, the threshold of squared F is 0. */
  readonly zeroShare: number
}

/** Statistics of a mask. */
export type MaskStats = Pick<FlatMask, 'refreshedAt' | 'threshold' | 'flatShare' | 'zeroShare'>

/** A refresh of the mask. */
export interface MaskRequest {
  readonly ire: IreOptimizer
  /** The step, from 0. */
  readonly step: number
  /** B, the number of samples whose mean the estimates are. */
  readonly batchSize: number
  /** Names of the tensors that IRE may enhance; their elements are the N of the threshold. Others keep n = 0. */
  readonly ranked: readonly string[]
  /** The kind of estimates, for messages: 'curvature gradient'. */
  readonly what: string
}

const [g, F, beta, take] = [array('g'), array('F'), scalar('beta'), scalar('take')]

/** F <- beta F + take g^2, with take = (1 - beta) B. */
export const smoothedSquareFormula: Formula = formula({ F: F.mul(beta).add(g.mul(take).mul(g)) })

/** F <- beta F + take g, with take = 1 - beta. */
export const smoothedValueFormula: Formula = formula({ F: F.mul(beta).add(g.mul(take)) })

/** n = 1 if `ranked` <= cut, else 0. */
const flatFormula = (ranked: Expr): Formula => formula({ n: ranked.atMost(scalar('cut')) })

const flatByMagnitudeFormula = flatFormula(F.abs())
const flatByValueFormula = flatFormula(F)

/**
 * Computes the mask of one refresh: F <- beta F + (1 - beta) h, with one threshold over the N elements of all ranked
 * tensors, the k-th largest F, k = floor((1 - gamma) N). A coordinate is flat if F <= threshold, ties included.
 *
 *     h = B g^2     for the curvatures 'sampled' and 'empirical', with g = `estimates`
 *     h = v * Hv    for 'hutchinson', with `estimates` = v * Hv; F has a sign and is ranked by value
 *
 * Without smoothing, abs(g) is ranked instead of B g^2: the same selection, exact even if g^2 overflows or underflows.
 * @param parameters all parameters; only their lengths and precision are used
 * @param previous the mask before the refresh
 * @throws OnnxIreError `not-finite` naming the step and the tensor, `invalid-data` for missing or misshapen estimates
 */
export const refreshMask = (
  request: MaskRequest,
  parameters: ParameterArrays,
  estimates: Gradients,
  previous: FlatMask | null,
): FlatMask => countAlone(maskRefresh(request, parameters, estimates, previous))

/** Settings of a process for the computation of a mask. */
interface MaskSettings {
  /** Evaluates formulas in several threads. */
  readonly parallel?: ParallelEvaluation | undefined
  /** `flat` of a mask that is no longer used, for the arrays of the new one. */
  readonly spare?: FlatMask['flat'] | undefined
  /** Whether this process computes the mask of a tensor; another one does so otherwise. Default: of every tensor. */
  readonly owns?: ((name: string) => boolean) | undefined
}

/** Refreshes a mask as `refreshMask` does, which may be divided among processes with the same estimates. */
export function* maskRefresh(
  request: MaskRequest,
  parameters: ParameterArrays,
  estimates: Gradients,
  previous: FlatMask | null,
  { parallel, spare, owns = () => true }: MaskSettings = {},
): Counting<FlatMask> {
  const { ire, step, ranked, what } = request
  const signed = ire.curvature === 'hutchinson'
  const held = Object.fromEntries(Object.entries(parameters).filter(([name]) => owns(name)))
  const all = ranked.map((name) => [name, arrayOf(estimates, name, parameters[name]!.length, what)] as const)
  const own = all.filter(([name]) => owns(name))
  const smooth = () => {
    const F = own.map(([name]) => getOwn(previous?.curvature, name)?.slice() ?? zeroArrayLike(parameters[name]!))
    const scalars = { beta: ire.beta, take: takeOf(request) }
    evaluate(signed ? smoothedValueFormula : smoothedSquareFormula, { F, g: own.map(([, g]) => g) }, scalars, parallel)
    return Object.fromEntries(own.map(([name], i) => [name, F[i]!]))
  }
  const curvature =
    ire.beta > 0
      ? {
          ...mapArrays(held, (parameter, name) => getOwn(previous?.curvature, name) ?? zeroArrayLike(parameter)),
          ...smooth(),
        }
      : null
  const values = own.map(([name, g]) => [name, getOwn(curvature, name) ?? g] as const)
  const total = all.reduce((sum, [, { length }]) => sum + length, 0)
  const arrays = values.map(([, array]) => array)
  // F has the precision of the parameter.
  const isSingle = all.every(([name, g]) => (curvature ? getOwn(parameters, name) : g) instanceof Float32Array)
  const selection: Selection | null =
    total === 0
      ? { cut: 0, flat: 0, zero: 0 }
      : yield* select(arrays, rankOf(ire, total), signed ? 'value' : 'magnitude', { total, isSingle })
  if (selection === null) throw findNotFinite(all, values, step, what)

  const isRanked = new Set(own.map(([name]) => name))
  const flat = mapArrays(held, (parameter, name) => {
    const old = getOwn(spare, name)
    if (!old) return zeroMaskLike(parameter)
    // What follows writes every byte of a ranked tensor. V8 fills shared memory byte by byte.
    return isRanked.has(name) ? old : old.fill(0)
  })
  const tensors = { F: arrays, n: values.map(([name]) => flat[name]!) }
  evaluate(signed ? flatByValueFormula : flatByMagnitudeFormula, tensors, { cut: selection.cut }, parallel)
  return { flat, curvature, ...maskStats(request, total, selection) }
}

/**
 * The rank k of the threshold. The k-th largest F is flat itself, so k = 0 and k = 1 both leave every coordinate flat.
 */
export const rankOf = ({ gamma }: IreOptimizer, total: number): number => Math.max(1, Math.floor((1 - gamma) * total))

/** The coefficient `take` of new estimates in F: (1 - beta) B, or 1 - beta for v * Hv. */
export const takeOf = ({ ire, batchSize }: Pick<MaskRequest, 'ire' | 'batchSize'>): number =>
  (1 - ire.beta) * (ire.curvature === 'hutchinson' ? 1 : batchSize)

/**
 * Computes the statistics of a mask.
 * @param total the N of the threshold
 */
export function maskStats(
  { ire, step, batchSize }: Pick<MaskRequest, 'ire' | 'step' | 'batchSize'>,
  total: number,
  { cut, flat, zero }: Selection,
): MaskStats {
  const share = (n: number) => (total === 0 ? 0 : n / total)
  const ranksF = ire.beta > 0 || ire.curvature === 'hutchinson'
  const threshold = ranksF ? cut : Math.min(batchSize * cut * cut, Number.MAX_VALUE)
  return { refreshedAt: step, threshold, flatShare: share(flat), zeroShare: share(zero) }
}

type NamedArrays = readonly (readonly [name: string, array: FloatArray])[]

/** The 'not-finite' error of the first NaN or infinity in the estimates, or else in F of this process. */
function findNotFinite(estimates: NamedArrays, F: NamedArrays, step: number, what: string): OnnxIreError {
  const find = (named: NamedArrays, what: string) =>
    named.map(([name, array]) => notFiniteError(array, name, `step ${step}`, what)).find((error) => error !== null)
  const inOther = `step ${step}: the curvature estimate F of a tensor of another process is not finite`
  return (
    find(estimates, what) ??
    find(F, 'curvature estimate F') ??
    new OnnxIreError('not-finite', `${inOther}, which reports it; the parameters are unchanged`)
  )
}
