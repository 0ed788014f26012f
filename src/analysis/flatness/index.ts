/**
 * Flatness of a loss surface: Hessian products, trace, eigenvalues, spectral density, sharpness, landscapes.
 * @module onnx-ire/flatness
 */

export { type DensityOptions, type SpectralDensity, spectralDensity } from './density.js'
export { type Eigenvalue, type EigenvalueOptions, type Eigenvalues, topEigenvalues } from './eigenvalues.js'
export type { FilterAxes } from './filters.js'
export type { SymmetricOperator } from './lanczos.js'
export { type Landscape, type LandscapeOptions, lossLandscape } from './landscape.js'
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
  type ProgressCallback,
  type SurfaceOptions,
  type TrainerSurfaceOptions,
} from './surface.js'
export type { MeanEstimate } from './trace.js'
export { hutchinsonTrace, type TraceEstimate, type TraceOptions } from './trace.js'
export type { ParameterLayout, ParameterSlice, ParameterVector } from './vector.js'
