import { checkNames } from '../../util/check.js'
import { Random } from '../../util/random.js'
import { type DensityOptions, type SpectralDensity, spectralDensity } from './density.js'
import { type EigenvalueOptions, type Eigenvalues, topEigenvalues } from './eigenvalues.js'
import { type Landscape, type LandscapeOptions, lossLandscape } from './landscape.js'
import { type Sharpness, type SharpnessOptions, sharpness } from './sharpness.js'
import type { LossSurface, ProgressCallback } from './surface.js'
import { hutchinsonTrace, type TraceEstimate, type TraceOptions } from './trace.js'

/** Options of `measureFlatness`: the measures (`true` for defaults), seed and progress. */
export interface FlatnessOptions {
  /** The Hessian's trace. */
  readonly trace?: boolean | TraceOptions
  /** The largest eigenvalues of the Hessian. */
  readonly eigenvalues?: boolean | EigenvalueOptions
  /** The density of the Hessian's eigenvalues. */
  readonly density?: boolean | DensityOptions
  /** The increase of the loss within radius rho. */
  readonly sharpness?: boolean | SharpnessOptions
  /** The loss over a plane of two random directions. */
  readonly landscape?: boolean | LandscapeOptions
  /** Seed of all random vectors; each measure has a separate stream. Default 0. */
  readonly seed?: number
  /** Called after every batch. */
  readonly onProgress?: (progress: FlatnessProgress) => void
  /** Stops after the current batch when aborted; measures completed by then are returned. */
  readonly signal?: { readonly aborted: boolean }
}

/** Name of a flatness measure. */
export type FlatnessMeasure = 'trace' | 'eigenvalues' | 'density' | 'sharpness' | 'landscape'

/** Progress of a measure. */
export interface FlatnessProgress {
  readonly measure: FlatnessMeasure
  /** Number of the current pass over the data, and the maximal number of passes. */
  readonly pass: number
  readonly passes: number
  /** Examples processed in this pass. */
  readonly examples: number
}

/** Results of `measureFlatness`; measures that were not requested are absent. */
export interface Flatness {
  /** Number of elements of all parameters: the rows of the Hessian. */
  readonly parameters: number
  /** Method of the Hessian-vector products. */
  readonly method: 'exact' | 'differences'
  readonly trace?: TraceEstimate
  readonly eigenvalues?: Eigenvalues
  readonly density?: SpectralDensity
  readonly sharpness?: Sharpness
  readonly landscape?: Landscape
  /** Whether the signal was aborted before all measures were complete. */
  readonly interrupted: boolean
}

/**
 * Measures how flat the loss is at the weights of a model or trainer. Results are those of the given data: another
 * sample has another Hessian, which the standard errors do not include.
 *
 * @example
 * ```ts
 * const surface = LossSurface.under(trainer, subset(train, { end: 512 }))
 * const flatness = await measureFlatness(surface, { trace: true, eigenvalues: { count: 1 } })
 * ```
 * Throws `invalid-option`, `invalid-data`, `not-finite`, `runtime`.
 */
export async function measureFlatness(surface: LossSurface, options: FlatnessOptions): Promise<Flatness> {
  checkOptions(options)
  const found: Partial<Found> = {}
  const random = new Random(options.seed ?? 0)
  const result = (interrupted: boolean): Flatness => {
    const { size: parameters, method } = surface
    return { parameters, method, ...found, interrupted }
  }
  const perProduct = surface.method === 'exact' ? 1 : 2
  const optionsOf = <T extends object>(option: boolean | T | undefined): T | undefined =>
    option === true ? ({} as T) : option || undefined
  const measure = async <Key extends FlatnessMeasure>(
    key: Key,
    passes: number,
    run: (random: Random, onBatch: ProgressCallback) => Promise<Found[Key]>,
  ) => {
    found[key] = await run(random.stream(key), createProgressCallback(key, passes, options))
  }
  try {
    const trace = optionsOf(options.trace)
    if (trace)
      await measure('trace', perProduct * (trace.probes ?? 100), (random, onBatch) =>
        hutchinsonTrace(surface.hessian(undefined, onBatch), random, trace),
      )
    const eigenvalues = optionsOf(options.eigenvalues)
    if (eigenvalues)
      await measure('eigenvalues', perProduct * Math.min(eigenvalues.steps ?? 100, surface.size), (random, onBatch) =>
        topEigenvalues(surface.hessian(undefined, onBatch), random, eigenvalues),
      )
    const density = optionsOf(options.density)
    if (density) {
      const { probes = 8, steps = 40 } = density
      await measure('density', perProduct * probes * Math.min(steps, surface.size), (random, onBatch) =>
        spectralDensity(surface.hessian(undefined, onBatch), random, density),
      )
    }
    const sam = optionsOf(options.sharpness)
    if (sam)
      await measure('sharpness', 2 + 2 * (sam.directions ?? 10), (random, onBatch) =>
        sharpness(surface, random, sam, onBatch),
      )
    const landscape = optionsOf(options.landscape)
    if (landscape)
      await measure('landscape', (landscape.points ?? 21) ** 2, (random, onBatch) =>
        lossLandscape(surface, random, landscape, onBatch),
      )
    return result(false)
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
    return result(true)
  }
}

const measureOptions: Readonly<Record<FlatnessMeasure, readonly string[]>> = {
  trace: ['tolerance', 'probes'],
  eigenvalues: ['count', 'tolerance', 'steps'],
  density: ['probes', 'steps', 'width', 'points'],
  sharpness: ['rho', 'directions'],
  landscape: ['points', 'range'],
}

function checkOptions(options: FlatnessOptions): void {
  const measures = Object.keys(measureOptions) as FlatnessMeasure[]
  checkNames('measureFlatness', options, [...measures, 'seed', 'onProgress', 'signal'])
  for (const name of measures) {
    const given = options[name]
    if (typeof given === 'object') checkNames(`measureFlatness: ${name}`, given, measureOptions[name])
  }
}

type Found = { -readonly [Key in FlatnessMeasure]: NonNullable<Flatness[Key]> }

/** Ends a pass when the signal is aborted. */
class Stopped extends Error {}

function createProgressCallback(
  measure: FlatnessMeasure,
  passes: number,
  { onProgress, signal }: FlatnessOptions,
): ProgressCallback {
  let [pass, before] = [1, 0]
  return (examples) => {
    if (examples <= before) pass++
    before = examples
    onProgress?.({ measure, pass, passes: Math.max(pass, passes), examples })
    if (signal?.aborted) throw new Stopped()
  }
}
