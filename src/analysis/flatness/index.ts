/**
 * Flatness of a loss surface: Hessian products, trace, eigenvalues, spectral density, sharpness, landscapes.
 * @module onnx-ire/flatness
 */

export { type DensityOptions, type SpectralDensity, spectralDensity } from './density.js'
export { type Eigenvalue, type EigenvalueOptions, type Eigenvalues, topEigenvalues } from './eigenvalues.js'
export type { Estimate } from './estimate.js'
export type { FilterAxes } from './filters.js'
export { type Landscape, type LandscapeOptions, lossLandscape } from './landscape.js'
export type { Layout, Place } from './layout.js'
export {
  type Flatness,
  type FlatnessMeasure,
  type FlatnessOptions,
  type FlatnessProgress,
  measureFlatness,
} from './measure.js'
export { type Sharpness, type SharpnessOptions, sharpness } from './sharpness.js'
export {
  LossSurface,
  type ModelSurfaceOptions,
  type SurfaceOptions,
  type TrainerSurfaceOptions,
  type Watch,
} from './surface.js'
export type { SymmetricOperator } from './symmetric.js'
export { hutchinsonTrace, type Trace, type TraceOptions } from './trace.js'
export type { Vector } from './vector.js'
