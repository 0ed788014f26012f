/** Measures of examples seen since the start, each example counted once. */
export class Tally {
  private loss = 0
  private correct = 0
  private classified = false
  count = 0

  add(loss: number, count: number, correct: number | undefined): void {
    this.loss += loss * count
    this.count += count
    if (correct !== undefined) {
      this.correct += correct
      this.classified = true
    }
  }

  measures(): Measures {
    return {
      loss: this.loss / this.count,
      ...(this.classified ? { accuracy: this.correct / this.count } : {}),
      count: this.count,
    }
  }
}

/** Means over examples (or positions). */
export interface Measures {
  readonly loss: number
  /** Share of examples whose arg-max is the label; for classifiers. */
  readonly accuracy?: number
  readonly count: number
}
