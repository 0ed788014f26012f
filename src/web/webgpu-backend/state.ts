import type { RefreshNumbers } from './refreshed.js'

/** Where in a step something that is not finite was found; 0 is for nowhere. */
export const STAGES = { estimate: 1, curvature: 2, ascent: 3, update: 4, check: 5 } as const

export type Stage = keyof typeof STAGES

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
 * What the device knows of the step that it is in, `fault` to `large`, and of the mask that is in force, `refresh` to `cut`.
 * `fault` is the stage that found a number that is not finite, in part `part` of its tensors, as `element` * 4 + kind.
 * From then on nothing is changed until the host clears it. The three sums make the norm: see `partsCode`.
 */
export const STATE = `struct State {
${Object.entries(fields)
  .map(([name, type]) => `  ${name}: ${type},`)
  .join('\n')}
}`

/** Bytes of `STATE`. */
export const STATE_BYTES = 4 * Object.keys(fields).length

/** The first words, which are cleared when a step begins: `fault` to `element`. */
export const FAULT_WORDS = 3

/** For shaders that only ask. */
export const STATE_UNIFORM = `${STATE}
@group(0) @binding(1) var<uniform> state: State;`

/** Something that is not finite. */
export interface Fault {
  readonly stage: Stage
  readonly part: number
  readonly element: number
  readonly value: number
}

/** `STATE` as it came back. */
export interface StateReport {
  readonly fault: Fault | null
  readonly norm: number
  /** Which refresh made the mask; 0 for none. */
  readonly refresh: number
  readonly counts: RefreshNumbers
}

export function readState(bytes: ArrayBuffer, at = 0): StateReport {
  const words = new Uint32Array(bytes, at, STATE_BYTES / 4)
  const floats = new Float32Array(bytes, at, STATE_BYTES / 4)
  const word = (field: keyof typeof fields) => words[wordOf(field)]!
  const sum = (field: 'small' | 'middle' | 'large') => floats[wordOf(field)]!
  const stage = (Object.keys(STAGES) as Stage[]).find((name) => STAGES[name] === word('fault'))
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

/** The state between steps, when refresh `refresh` made the mask. */
export function restingState(refresh: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(STATE_BYTES / 4)
  words[wordOf('refresh')] = refresh
  return words
}
