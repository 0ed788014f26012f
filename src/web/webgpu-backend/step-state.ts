/** Stages of a step that check for NaN and infinity, by their code in the state; 0 is no fault. */
export const stages = { estimate: 1, curvature: 2, ascent: 3, update: 4, check: 5 } as const

export type Stage = keyof typeof stages

const fields = {
  fault: 'u32',
  part: 'u32',
  element: 'u32',
  scale: 'f32',
  small: 'f32',
  middle: 'f32',
  large: 'f32',
  refresh: 'u32',
  flat: 'u32',
  zero: 'u32',
  cut: 'u32',
  spare: 'u32',
} as const

const wordOf = (field: keyof typeof fields): number => Object.keys(fields).indexOf(field)

/**
 * The state of a step in GPU memory: `fault` to `large` belong to the step in progress, `refresh` to `cut` to the
 * current mask. `fault` is the stage that found NaN or infinity, in part `part` of its tensors, and `element` is index
 * * 4 + kind of value. After a fault nothing is written until the host clears it. The three sums make the norm: see
 * `partsCode`.
 */
export const stateStruct = `struct State {
${Object.entries(fields)
  .map(([name, type]) => `  ${name}: ${type},`)
  .join('\n')}
}`

/** Bytes of `stateStruct`. */
export const stateBytes = 4 * Object.keys(fields).length

/** Number of leading words that are cleared when a step begins: `fault` to `element`. */
export const faultWords = 3

/** WGSL of the state as a uniform, for shaders that only read it. */
export const stateUniform = `${stateStruct}
@group(0) @binding(1) var<uniform> state: State;`

/**
 * The state of the selection of the k-th largest. Before the first digit `rank` is k, and `flat` the number of elements
 * minus k.
 */
export const selectionStruct = `struct Selection {
  prefix: u32,
  rank: u32,
  cut: u32,
  flat: u32,
  zero: u32,
}`

/** Bytes of `selectionStruct`. */
export const selectionBytes = 20

/** An element that is not finite. */
export interface Fault {
  readonly stage: Stage
  readonly part: number
  readonly element: number
  readonly value: number
}

/** The state on the host. */
export interface StepState {
  readonly fault: Fault | null
  readonly norm: number
  /** Id of the refresh that computed the mask; 0 for none. */
  readonly refresh: number
  readonly counts: MaskCounts
}

/** Decodes the state. */
export function decodeState(bytes: ArrayBuffer, at = 0): StepState {
  const words = new Uint32Array(bytes, at, stateBytes / 4)
  const floats = new Float32Array(bytes, at, stateBytes / 4)
  const word = (field: keyof typeof fields) => words[wordOf(field)]!
  const sum = (field: 'small' | 'middle' | 'large') => floats[wordOf(field)]!
  const stage = (Object.keys(stages) as Stage[]).find((name) => stages[name] === word('fault'))
  const element = word('element')
  return {
    fault: stage
      ? { stage, part: word('part'), element: Math.floor(element / 4), value: [NaN, Infinity, -Infinity][element % 4]! }
      : null,
    norm: Math.sqrt(sum('small') * 2 ** -150 + sum('middle') + sum('large') * 2 ** 152),
    refresh: word('refresh'),
    counts: { flat: word('flat'), zero: word('zero'), cut: word('cut') },
  }
}

/** Encodes the state between steps, with a mask of refresh `refresh`. */
export function encodeState(refresh: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(stateBytes / 4)
  words[wordOf('refresh')] = refresh
  return words
}

/** Counts of a refresh; `cut` is the key of the largest F that is flat. */
export interface MaskCounts {
  readonly flat: number
  readonly zero: number
  readonly cut: number
}
