/** Margin of the given label of an example over the course of training. */
export interface LabelMargin {
  /** Position of the example. */
  readonly index: number
  /** Class number of the given label. */
  readonly given: number
  /** The other class with the highest mean score. */
  readonly preferred: number
  /**
   * Mean over the evaluations of the score of the given class minus the highest other score. Below 0, the model mostly
   * preferred another class.
   */
  readonly margin: number
}

/**
 * The area under the margin of every example (Pleiss et al. 2020, arXiv 2001.10528). A network learns wrong labels
 * last: until then other examples of the true class pull the score of that class up.
 */
export class LabelMargins {
  readonly #labels: readonly number[]
  readonly #margins: Float64Array
  /** Sums of the scores, by example and class. */
  readonly #scores: Float64Array
  readonly #classes: number
  #evaluations = 0

  /** @param labels class number of every example */
  constructor(labels: readonly number[], classes: number) {
    this.#labels = labels
    this.#classes = classes
    this.#margins = new Float64Array(labels.length)
    this.#scores = new Float64Array(labels.length * classes)
  }

  /** Number of evaluations. */
  get evaluations(): number {
    return this.#evaluations
  }

  /** Adds the scores of an example: logits or logarithms of probabilities, which have the same margins. */
  add(index: number, scores: readonly number[]): void {
    const given = this.#labels[index]!
    const most = Math.max(...scores.filter((_, c) => c !== given))
    this.#margins[index]! += scores[given]! - most
    for (const [c, score] of scores.entries()) this.#scores[index * this.#classes + c]! += score
  }

  /** Ends an evaluation, in which every example was added once. */
  endEvaluation(): void {
    this.#evaluations++
  }

  /** The examples, the least margin first. */
  rank(): LabelMargin[] {
    return this.#labels
      .map((given, index): LabelMargin => {
        const scores = this.#scores.subarray(index * this.#classes, (index + 1) * this.#classes)
        let preferred = given === 0 ? 1 : 0
        for (const [c, score] of scores.entries()) if (c !== given && score > scores[preferred]!) preferred = c
        return { index, given, preferred, margin: this.#margins[index]! / this.#evaluations }
      })
      .sort((a, b) => a.margin - b.margin)
  }
}
