import { OnnxIreError } from '../util/errors.js'

/** Lets one work at a time in. Steps of two fits of one trainer would move the same tensors. */
export class Alone {
  private inside = false

  /** Throws `invalid-option` where another work is going on. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.inside)
      throw new OnnxIreError(
        'invalid-option',
        'fit: this trainer is in the middle of a step of another fit: await that one first, or create a trainer for each',
      )
    this.inside = true
    try {
      return await work()
    } finally {
      this.inside = false
    }
  }
}
