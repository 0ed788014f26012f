import { sameShape } from '../ir/shape.js'

/** A WGSL expression without side effects, and the depth of the innermost block whose variables it reads. */
export interface Code {
  readonly text: string
  readonly depth: number
  /** The number, if it is a constant. */
  readonly constant?: number
}

/** An unsigned integer constant. */
export const natural = (constant: number): Code => ({ text: `${constant}u`, depth: 0, constant })

/** A part of a loop, and the distance of its iterations. */
interface Range {
  readonly start?: Code
  readonly end?: Code
  readonly step?: number
}

interface Block {
  readonly lines: string[]
  /** Variables by their expressions. */
  readonly known: Map<string, string>
}

/**
 * Writes the statements of a shader. An expression becomes a variable of the outermost block that has its operands, so
 * that loops do not compute it again, and equal expressions become one variable.
 */
export class Emitter {
  readonly #blocks: Block[] = [{ lines: [], known: new Map() }]
  #variables = 0

  /** The depth of the current block. */
  get depth(): number {
    return this.#blocks.length - 1
  }

  /** Stores an expression in a variable. */
  let(text: string, ...operands: readonly Code[]): Code {
    const depth = operands.reduce((most, operand) => Math.max(most, operand.depth), 0)
    for (let at = 0; at <= depth; at++) {
      const before = this.#blocks[at]!.known.get(text)
      if (before) return { text: before, depth: at }
    }
    const name = `t${this.#variables++}`
    const { lines, known } = this.#blocks[depth]!
    known.set(text, name)
    lines.push(`let ${name} = ${text};`)
    return { text: name, depth }
  }

  /** Declares a variable of the current block, to assign to. */
  variable(value: string): string {
    const name = `v${this.#variables++}`
    this.line(`var ${name} = ${value};`)
    return name
  }

  line(text: string): void {
    this.#blocks.at(-1)!.lines.push(text)
  }

  /** Writes a loop over 0, 1, ... below `end`; a loop of one iteration needs no block. */
  loop(end: number, body: (index: Code) => void, range: Range = {}): void {
    const { start, step = 1 } = range
    if (end <= step && !start) {
      body(natural(0))
      return
    }
    const name = `i${this.#variables++}`
    const head = `for (var ${name} = ${start?.text ?? '0u'}; ${name} < ${range.end?.text ?? `${end}u`}; ${name} += ${step}u) {`
    this.block(head, () => body({ text: name, depth: this.depth }))
  }

  /** Writes nested loops, the last one innermost. */
  loops(ends: readonly number[], body: (indices: readonly Code[]) => void): void {
    const [end, ...others] = ends
    if (end === undefined) body([])
    else this.loop(end, (index) => this.loops(others, (indices) => body([index, ...indices])))
  }

  /** Writes a block that starts with `head`, such as a condition. */
  block(head: string, body: () => void): void {
    this.#blocks.push({ lines: [], known: new Map() })
    body()
    const { lines } = this.#blocks.pop()!
    this.line([head, ...lines.map((line) => `  ${line}`), '}'].join('\n'))
  }

  toString(): string {
    return this.#blocks[0]!.lines.join('\n')
  }

  add(a: Code, b: Code): Code {
    if (a.constant !== undefined && b.constant !== undefined) return natural(a.constant + b.constant)
    if (a.constant === 0) return b
    if (b.constant === 0) return a
    return this.let(`${a.text} + ${b.text}`, a, b)
  }

  mul(a: Code, factor: number): Code {
    if (a.constant !== undefined) return natural(a.constant * factor)
    if (factor === 0) return natural(0)
    return factor === 1 ? a : this.let(`${a.text} * ${factor}u`, a)
  }

  div(a: Code, by: number): Code {
    if (a.constant !== undefined) return natural(Math.floor(a.constant / by))
    return by === 1 ? a : this.let(`${a.text} / ${by}u`, a)
  }

  mod(a: Code, by: number): Code {
    if (a.constant !== undefined) return natural(a.constant % by)
    return by === 1 ? natural(0) : this.let(`${a.text} % ${by}u`, a)
  }

  /** Whether both conditions hold; undefined is a condition that always does. */
  and(a: Code | undefined, b: Code): Code {
    return a ? this.let(`${a.text} && ${b.text}`, a, b) : b
  }

  /** The sum of terms, those of outer blocks first. */
  sum(terms: readonly Code[]): Code {
    return [...terms].sort((a, b) => a.depth - b.depth).reduce((sum, term) => this.add(sum, term), natural(0))
  }
}

/** The position of an element of a tensor, as a number, as one number per axis, or both. */
export class Index {
  readonly shape: readonly number[]
  readonly #emitter: Emitter
  #flat: Code | undefined
  #coordinates: readonly Code[] | undefined

  private constructor(emitter: Emitter, shape: readonly number[], flat?: Code, coordinates?: readonly Code[]) {
    this.#emitter = emitter
    this.shape = shape
    this.#flat = flat
    this.#coordinates = coordinates
  }

  static flat(emitter: Emitter, shape: readonly number[], flat: Code): Index {
    return new Index(emitter, shape, flat)
  }

  static at(emitter: Emitter, shape: readonly number[], coordinates: readonly Code[]): Index {
    return new Index(
      emitter,
      shape,
      undefined,
      coordinates.map((coordinate, axis) => (shape[axis] === 1 ? natural(0) : coordinate)),
    )
  }

  get flat(): Code {
    if (!this.#flat) {
      let stride = 1
      const terms: Code[] = []
      for (let axis = this.shape.length - 1; axis >= 0; axis--) {
        terms.unshift(this.#emitter.mul(this.#coordinates![axis]!, stride))
        stride *= this.shape[axis]!
      }
      this.#flat = this.#emitter.sum(terms)
    }
    return this.#flat
  }

  get coordinates(): readonly Code[] {
    this.#coordinates ??= split(this.#emitter, this.#flat!, this.shape)
    return this.#coordinates
  }

  /** The same number as a position in another shape of the same size. */
  reshaped(shape: readonly number[]): Index {
    return sameShape(shape, this.shape) ? this : new Index(this.#emitter, shape, this.flat)
  }
}

/** Splits a number into one per axis. */
export function split(emitter: Emitter, flat: Code, shape: readonly number[]): readonly Code[] {
  const coordinates: Code[] = []
  let rest = flat
  const first = shape.findIndex((dim) => dim !== 1)
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const dim = shape[axis]!
    if (dim === 1) coordinates.unshift(natural(0))
    else if (axis === first) coordinates.unshift(rest)
    else {
      coordinates.unshift(emitter.mod(rest, dim))
      rest = emitter.div(rest, dim)
    }
  }
  return coordinates
}
