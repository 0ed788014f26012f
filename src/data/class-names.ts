/** What a reader with class names knows of them: for each tensor of class numbers, its names in the order of the numbers. */
export interface WithClassNames {
  readonly classes: Readonly<Record<string, readonly string[]>>
}

/** Class names and their numbers: given in order, or gathered from the data. */
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

  /** @param refuse makes the error for a name that is not among those given */
  numberOf(name: string, refuse: (what: string) => Error): number {
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    if (this.#given) {
      const shown = this.names.slice(0, 10).map((each) => `'${each}'`)
      const more = this.#numbers.size - shown.length
      throw refuse(`is '${name}', none of the classes ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`)
    }
    const number = this.#numbers.size
    this.#numbers.set(name, number)
    return number
  }

  /** The names in order (as numbers, if all of them are whole numbers), and where each number given out so far goes. */
  sorted(): { readonly names: string[]; readonly places: number[] } {
    const { names } = this
    if (this.#given) return { names, places: names.map((_, i) => i) }
    const numeric = names.every((name) => /^-?\d{1,15}$/.test(name))
    const sorted = numeric ? names.toSorted((a, b) => Number(a) - Number(b)) : names.toSorted()
    const place = new Map(sorted.map((name, i) => [name, i]))
    return { names: sorted, places: names.map((name) => place.get(name)!) }
  }
}
