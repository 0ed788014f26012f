import type { Value } from '../../../src/ir/value.js'

/**
 * One operand of a case. Elements are drawn from a seeded generator: uniform in `range`, by default [-1.5, -0.3] or
 * [0.3, 1.5].
 */
export interface Operand {
  readonly shape: readonly number[]
  readonly range?: readonly [low: number, high: number]
  /** Elements given outright (integer operands must give them). */
  readonly values?: readonly number[]
  /** Operands of other types are fed, not differentiated. Default: the floating type under test. */
  readonly dtype?: 'int64' | 'int32' | 'int8' | 'uint8' | 'bool'
  /** A floating operand that is fed but not differentiated (running statistics). */
  readonly fixed?: boolean
  /** All elements distinct by at least 0.05 (for Max, TopK, pools: keeps differences off the kinks). */
  readonly distinct?: boolean
}

/** A small graph whose gradient is checked against directional differences. */
export interface Case {
  readonly name: string
  readonly operands: readonly Operand[]
  readonly build: (...x: readonly Value[]) => Value | readonly Value[]
  /** Function whose derivative the gradient is, for an operator that rounds. */
  readonly unrounded?: (...x: readonly Value[]) => Value
  /** The reason for checking it in float32: the operator without a float64 kernel in onnxruntime's CPU provider. */
  readonly float32?: string
  /**
   * The function is linear along any line (in all differentiated operands together): float32 differences are exact for
   * any step.
   */
  readonly linear?: boolean
  /** The reason for not checking it with every length symbolic: the lengths that have to be known. */
  readonly staticOnly?: string
  /** The reason for not differentiating its gradient again. */
  readonly firstOrderOnly?: string
}

/** The cases of a family, by operator. */
export type Cases<Family> = { readonly [K in keyof Family]?: readonly Case[] }

/** `shape(2, 3)`: an operand of the default range. */
export const shape = (...dims: readonly number[]): Operand => ({ shape: dims })

/** An operand of whole numbers with these dims, which is fed. */
export const integers = (dims: readonly number[], ...values: readonly number[]): Operand => ({
  shape: dims,
  dtype: 'int64',
  values,
})

/** A list of whole numbers, which is fed. */
export const ints = (...values: readonly number[]): Operand => integers([values.length], ...values)
