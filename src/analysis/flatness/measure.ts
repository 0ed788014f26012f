import { Random } from '../../util/random.js'
import { type DensityOptions, type SpectralDensity, spectralDensity } from './density.js'
import { type EigenvalueOptions, type Eigenvalues, topEigenvalues } from './eigenvalues.js'
import { type Landscape, type LandscapeOptions, lossLandscape } from './landscape.js'
import { type Sharpness, type SharpnessOptions, sharpness } from './sharpness.js'
import type { LossSurface, Watch } from './surface.js'
import { hutchinsonTrace, type Trace, type TraceOptions } from './trace.js'

/** What to measure; `true` is with all defaults. */
export interface FlatnessOptions {
  /** The Hessian's trace. */
  readonly trace?: boolean | TraceOptions
  /** Its largest eigenvalues. */
  readonly eigenvalues?: boolean | EigenvalueOptions
  /** The density of its eigenvalues. */
  readonly density?: boolean | DensityOptions
  /** The rise of the loss within rho. */
  readonly sharpness?: boolean | SharpnessOptions
  /** The loss over a plane. */
  readonly landscape?: boolean | LandscapeOptions
  /** Decides all that is drawn; each measure has a stream of its own. Default 0. */
  readonly seed?: number
  /** Called after every batch. */
  readonly onProgress?: (progress: FlatnessProgress) => void
  /** Ends the measuring after the batch in progress once it is aborted; what was complete by then is given. */
  readonly signal?: { readonly aborted: boolean }
}

/** The measures there are. */
export type FlatnessMeasure = 'trace' | 'eigenvalues' | 'density' | 'sharpness' | 'landscape'

/** How far a measurement has come. */
export interface FlatnessProgress {
  readonly measure: FlatnessMeasure
  /** Passes over the data that this measure has begun, and takes at most. */
  readonly pass: number
  readonly passes: number
  /** Examples of the pass that are done. */
  readonly examples: number
}

/** What was measured; what was not asked for is absent. */
export interface Flatness {
  /** Numbers that the Hessian is by: its rows. */
  readonly parameters: number
  /** How Hessian-vector products were computed. */
  readonly method: 'exact' | 'differences'
  readonly trace?: Trace
  readonly eigenvalues?: Eigenvalues
  readonly density?: SpectralDensity
  readonly sharpness?: Sharpness
  readonly landscape?: Landscape
  /** Whether the signal came before all was measured. */
  readonly interrupted: boolean
}

/**
 * How flat the loss is where a model or trainer stands. All is of the data it is given: another sample has another Hessian,
 * which no error bar here tells of.
 *
 * ```ts
 * const surface = LossSurface.under(trainer, subset(train, { end: 512 }))
 * fit(data, { onEvaluate: async () => log(await measureFlatness(surface, { trace: true, eigenvalues: { count: 1 } })) })
 * ```
 * Throws `invalid-option`, `invalid-data`, `not-finite`, `runtime`.
 */
export async function measureFlatness(surface: LossSurface, options: FlatnessOptions): Promise<Flatness> {
  const found: Partial<Found> = {}
  const random = new Random(options.seed ?? 0)
  const result = (interrupted: boolean): Flatness => {
    const { size: parameters, method } = surface
    return { parameters, method, ...found, interrupted }
  }
  const perProduct = surface.method === 'exact' ? 1 : 2
  const wants = <T extends object>(option: boolean | T | undefined): T | undefined =>
    option === true ? ({} as T) : option || undefined
  const measure = async <Key extends FlatnessMeasure>(
    key: Key,
    passes: number,
    run: (random: Random, watch: Watch) => Promise<Found[Key]>,
  ) => {
    found[key] = await run(random.stream(key), watchOf(key, passes, options))
  }
  try {
    const trace = wants(options.trace)
    if (trace)
      await measure('trace', perProduct * (trace.probes ?? 100), (random, watch) =>
        hutchinsonTrace(surface.hessian(undefined, watch), random, trace),
      )
    const eigenvalues = wants(options.eigenvalues)
    if (eigenvalues)
      await measure('eigenvalues', perProduct * Math.min(eigenvalues.steps ?? 100, surface.size), (random, watch) =>
        topEigenvalues(surface.hessian(undefined, watch), random, eigenvalues),
      )
    const density = wants(options.density)
    if (density) {
      const { probes = 8, steps = 40 } = density
      await measure('density', perProduct * probes * Math.min(steps, surface.size), (random, watch) =>
        spectralDensity(surface.hessian(undefined, watch), random, density),
      )
    }
    const sam = wants(options.sharpness)
    if (sam)
      await measure('sharpness', 2 + 2 * (sam.directions ?? 10), (random, watch) =>
        sharpness(surface, random, sam, watch),
      )
    const landscape = wants(options.landscape)
    if (landscape)
      await measure('landscape', (landscape.points ?? 21) ** 2, (random, watch) =>
        lossLandscape(surface, random, landscape, watch),
      )
    return result(false)
  } catch (error) {
    if (!(error instanceof Stopped)) throw error
    return result(true)
  }
}

type Found = { -readonly [Key in FlatnessMeasure]: NonNullable<Flatness[Key]> }

/** Thrown out of a pass when the signal says so. */
class Stopped extends Error {}

function watchOf(measure: FlatnessMeasure, passes: number, { onProgress, signal }: FlatnessOptions): Watch {
  let [pass, before] = [1, 0]
  return (examples) => {
    if (examples <= before) pass++
    before = examples
    onProgress?.({ measure, pass, passes: Math.max(pass, passes), examples })
    if (signal?.aborted) throw new Stopped()
  }
}
