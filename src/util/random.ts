import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus'
import type { JumpableRandomGenerator } from 'pure-rand/types/JumpableRandomGenerator'
import { OnnxIreError } from './errors.js'

/** State of a generator, its identity (`key`) and `position`: eight 32-bit integers, plain data for a checkpoint. */
export interface RandomState {
  readonly key: readonly number[]
  readonly position: readonly number[]
}

/** Distribution of random numbers: the name of a method of `Random`, or Huber's with its delta. */
export type RandomDistribution = 'uniform' | 'normal' | 'logistic' | 'sign' | { readonly huber: number }

/**
 * Seeded random number generator (xoroshiro128+ from pure-rand): the same seed gives the same numbers. Not for
 * cryptography.
 *
 * Use a separate stream per purpose, `random.stream('shuffle')` and `random.stream('curvature')`, so that the numbers
 * of one purpose do not depend on another: two runs that differ in one of them still see the same data in the same
 * order.
 * @example
 * ```ts
 * const random = new Random(0)
 * const noise = random.stream('noise').fill(new Float32Array(100), 'normal')
 * ```
 */
export class Random {
  readonly #key: readonly number[]
  readonly #generator: JumpableRandomGenerator

  /**
   * @param seed an integer in [0, 2^53)
   * @throws OnnxIreError `invalid-option`
   */
  constructor(seed: number)
  /** @param state result of `state()`; the new generator continues from there */
  constructor(state: RandomState)
  constructor(from: number | RandomState) {
    if (typeof from === 'number') {
      if (!Number.isSafeInteger(from) || from < 0)
        throw new OnnxIreError('invalid-option', `seed is ${from}; it must be an integer in [0, 2^53)`)
      this.#key = derive([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], `seed ${from}`) // digits of pi
      this.#generator = xoroshiro128plusFromState(this.#key)
    } else {
      const { key, position } = from
      for (const words of [key, position])
        if (!Array.isArray(words) || words.length !== 4 || !words.every((word) => Number.isInteger(word)))
          throw new OnnxIreError('checkpoint', 'a random state must have two lists of four integers, key and position')
      this.#key = key.map((word) => word | 0)
      this.#generator = xoroshiro128plusFromState(position.map((word) => word | 0))
    }
  }

  /** Creates the sub-stream of a name. It depends only on the seed and the name, not on the numbers sampled before. */
  stream(name: string): Random {
    const key = derive(this.#key, name)
    return new Random({ key, position: key })
  }

  /** Current state of the generator, for `new Random(state)`. */
  state(): RandomState {
    return { key: [...this.#key], position: [...this.#generator.getState()] }
  }

  /** Samples a uniform number in [0, 1), a multiple of 2^-53. */
  uniform(): number {
    return uniformFloat64(this.#generator)
  }

  /** Samples a standard normal number, by Box and Muller: sqrt(-2 ln u) cos(2 pi v). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /**
   * Samples a standard logistic number, ln(u / (1 - u)): logit + logistic noise > 0 is a sample of
   * Bernoulli(sigmoid(logit)). Always finite.
   */
  logistic(): number {
    let u = this.uniform()
    while (u === 0) u = this.uniform()
    return Math.log(u / (1 - u))
  }

  /**
   * Samples from the density exp(-H(x)) up to a factor, with the Huber loss H: x^2 / 2 for |x| <= delta, else delta
   * (|x| - delta / 2). The tails are exponential beyond delta; the middle is normal samples inside [-delta, delta].
   * Their masses are 2 exp(-delta^2 / 2) / delta and sqrt(2 pi) before the rejection.
   * @throws OnnxIreError `invalid-option` unless delta is positive
   */
  huber(delta: number): number {
    if (!(delta > 0 && Number.isFinite(delta)))
      throw new OnnxIreError('invalid-option', `huber: delta is ${delta}; it must be positive`)
    const [middle, tails] = [Math.sqrt(2 * Math.PI), (2 / delta) * Math.exp((-delta * delta) / 2)]
    for (;;) {
      if (this.uniform() * (middle + tails) < tails) return this.sign() * (delta - Math.log(1 - this.uniform()) / delta)
      const x = this.normal()
      if (Math.abs(x) <= delta) return x
    }
  }

  /** Samples -1 or 1, equally likely (Rademacher). */
  sign(): number {
    return this.uniform() < 0.5 ? -1 : 1
  }

  /**
   * Samples a gamma variable with the given shape and scale 1, by Marsaglia and Tsang (2000), A simple method for
   * generating gamma variables.
   * @throws OnnxIreError `invalid-option` unless the shape is positive
   */
  gamma(shape: number): number {
    return Math.exp(this.#logGamma(shape))
  }

  /**
   * Samples Beta(a, b) as x / (x + y) of two gamma variables, from their logarithms, which do not underflow for small
   * shapes.
   * @throws OnnxIreError `invalid-option` unless both are positive
   */
  beta(a: number, b: number): number {
    const x = this.#logGamma(a)
    return 1 / (1 + Math.exp(this.#logGamma(b) - x))
  }

  /**
   * Samples the logarithm of a gamma variable. With d = shape - 1/3: d v for v = (1 + x / sqrt(9 d))^3, accepted by u;
   * below 1, gamma(shape + 1) u^(1 / shape).
   */
  #logGamma(shape: number): number {
    if (!(shape > 0 && Number.isFinite(shape)))
      throw new OnnxIreError('invalid-option', `gamma: shape is ${shape}; it must be positive`)
    if (shape < 1) return this.#logGamma(shape + 1) + Math.log(1 - this.uniform()) / shape
    const d = shape - 1 / 3
    for (;;) {
      const x = this.normal()
      const v = (1 + x / Math.sqrt(9 * d)) ** 3
      if (v <= 0) continue
      if (Math.log(1 - this.uniform()) < (x * x) / 2 + d - d * v + d * Math.log(v)) return Math.log(d * v)
    }
  }

  /**
   * Samples a uniform integer in [0, n).
   * @throws OnnxIreError `invalid-option` unless n is an integer in [1, 2^53)
   */
  integer(n: number): number {
    if (!Number.isSafeInteger(n) || n < 1)
      throw new OnnxIreError('invalid-option', `integer: n is ${n}; it must be an integer in [1, 2^53)`)
    return uniformInt(this.#generator, 0, n - 1)
  }

  /** Fills an array with samples of a distribution and returns it. */
  fill<A extends Float32Array | Float64Array>(out: A, distribution: RandomDistribution): A {
    const sample = typeof distribution === 'string' ? () => this[distribution]() : () => this.huber(distribution.huber)
    for (let i = 0; i < out.length; i++) out[i] = sample()
    return out
  }

  /** Shuffles an array in place (Fisher-Yates, all orders equally likely) and returns it. */
  shuffle<A extends { readonly length: number; [index: number]: unknown }>(array: A): A {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      const value = array[i]
      array[i] = array[j]
      array[j] = value
    }
    return array
  }

  /** Returns the integers 0 .. n-1 in random order. */
  permutation(n: number): Uint32Array {
    return this.shuffle(Uint32Array.from({ length: n }, (_, i) => i))
  }
}

/**
 * Derives a key of 128 bits from a parent key and a name, like MurmurHash3: every input bit affects every output bit.
 */
function derive(key: readonly number[], name: string): readonly number[] {
  const lanes = [...key]
  const absorb = (word: number) => {
    for (let lane = 0; lane < 4; lane++) {
      const mixed = Math.imul(lanes[lane]! ^ word ^ lanes[(lane + 3) & 3]!, 0x9e3779b1 + 2 * lane)
      lanes[lane] = (mixed << 13) | (mixed >>> 19)
    }
  }
  for (let i = 0; i < name.length; i++) absorb(name.charCodeAt(i))
  absorb(name.length)
  for (let round = 0; round < 4; round++) {
    for (let lane = 0; lane < 4; lane++) lanes[lane] = avalanche(lanes[lane]! + lanes[(lane + 1) & 3]!)
  }
  if (!lanes.some(Boolean)) lanes[0] = 1 // xoroshiro never leaves the all-zero state
  return lanes
}

function avalanche(word: number): number {
  let x = word | 0
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return x ^ (x >>> 16)
}
