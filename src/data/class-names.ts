/** Data with class names: for each tensor of class numbers, the names in the order of their numbers. */
export interface WithClassNames {
  readonly classes: Readonly<Record<string, readonly string[]>>
}

/** Mapping of class names to numbers, fixed by the caller or collected from the data. */
export class ClassNames {
  readonly #numbers: Map<string, number>
  readonly #given: boolean

  constructor(isFixed: readonly string[] | undefined) {
    this.#given = isFixed !== undefined
    this.#numbers = new Map(isFixed?.map((name, i) => [name, i]))
  }

  get given(): boolean {
    return this.#given
  }

  get names(): string[] {
    return [...this.#numbers.keys()]
  }

  /**
   * Number of a class; a new name gets the next number unless the names are fixed.
   * @param toError creates the error for an unknown name from the description of the problem
   */
  numberOf(name: string, toError: (problem: string) => Error): number {
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    if (this.#given) {
      const shown = this.names.slice(0, 10).map((each) => `'${each}'`)
      const more = this.#numbers.size - shown.length
      throw toError(`is '${name}', not one of the classes ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`)
    }
    const number = this.#numbers.size
    this.#numbers.set(name, number)
    return number
  }

  /**
   * Names in sorted order (numerically if all are integers), and the sorted position of each number assigned so far.
   */
  sorted(): { readonly names: string[]; readonly positions: number[] } {
    const { names } = this
    if (this.#given) return { names, positions: names.map((_, i) => i) }
    const numeric = names.every((name) => /^-?\d{1,15}$/.test(name))
    const sorted = numeric ? names.toSorted((a, b) => Number(a) - Number(b)) : names.toSorted()
    const position = new Map(sorted.map((name, i) => [name, i]))
    return { names: sorted, positions: names.map((name) => position.get(name)!) }
  }
}
