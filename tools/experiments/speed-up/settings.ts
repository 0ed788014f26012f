/**
 * Settings that may change the speed-up of IRE over AdamW: each run of the comparison differs from the reference in
 * one.
 */
export interface Setting {
  readonly width: number
  readonly layers: number
  readonly steps: number
  readonly vocabulary: number
  /** Passes over the training text in `steps` steps. */
  readonly epochs: number
  /** Steps between two refreshes of the mask. */
  readonly interval: number
  /** Share of the batch that the curvature is computed on. */
  readonly curvatureShare: number
  /** Whether kappa follows the schedule of the learning rate. */
  readonly kappaDecay: boolean
  /** Whether IRE may enhance the embedding and the head. */
  readonly outerLayers: boolean
}

export type Variable = keyof Setting

export const reference: Setting = {
  width: 128,
  layers: 2,
  steps: 800,
  vocabulary: 1024,
  epochs: 0.5,
  interval: 10,
  curvatureShare: 1,
  kappaDecay: false,
  outerLayers: true,
}

/** Values of each variable beside that of the reference. */
const values: { readonly [Name in Variable]: readonly Setting[Name][] } = {
  width: [64, 192, 256, 384],
  layers: [4, 8],
  steps: [200, 400, 1600, 3200, 6400],
  vocabulary: [257, 4096],
  epochs: [4, 16],
  interval: [1, 50],
  curvatureShare: [1 / 4],
  kappaDecay: [true],
  outerLayers: [false],
}

/** A setting that differs from the reference in one variable; the reference itself has none. */
export interface Point {
  readonly variable?: Variable
  readonly setting: Setting
}

export const points: readonly Point[] = [
  { setting: reference },
  ...(Object.keys(values) as Variable[]).flatMap((variable) =>
    values[variable].map((value): Point => ({ variable, setting: { ...reference, [variable]: value } })),
  ),
  // The corpus is too short for half a pass.
  { variable: 'steps', setting: { ...reference, steps: 20_000, epochs: 1 } },
]

/** Variables of IRE alone: AdamW's runs are those of the reference. */
const ofIre: readonly Variable[] = ['interval', 'curvatureShare', 'kappaDecay', 'outerLayers']
export const changesBase = ({ variable }: Point): boolean => variable === undefined || !ofIre.includes(variable)

/**
 * Variables of the size of a training: they are also compared without tuning, at the learning rate of the paper, and
 * the speed-up is fitted to them.
 */
export const sizes = ['width', 'layers', 'steps'] as const satisfies readonly Variable[]
export const changesSize = ({ variable }: Point): boolean =>
  variable === undefined || (sizes as readonly Variable[]).includes(variable)

/** 1, and the coordinate of every variable: doublings from the reference, or 1 where an option of IRE is switched. */
export const coordinates = (
  { setting }: Pick<Point, 'setting'>,
  variables: readonly Variable[] = Object.keys(values) as Variable[],
): number[] => [
  1,
  ...variables.map((variable) => {
    const [value, usual] = [setting[variable], reference[variable]]
    return typeof value === 'number' ? Math.log2(value / (usual as number)) : Number(value !== usual)
  }),
]

export const batchSize = 16
export const context = 64
export const heads = 4
export const hiddenOf = (width: number): number => (width * 5) / 2

/** Trained numbers: embedding and head, and blocks of attention and SwiGLU. */
export const parametersOf = ({ vocabulary, width, layers }: Setting): number =>
  2 * vocabulary * width + layers * (4 * width ** 2 + 3 * width * hiddenOf(width) + 2 * width) + width
