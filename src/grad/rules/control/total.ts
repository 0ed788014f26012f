import type { Value } from '../../../ir/value.js'
import { op } from '../../../op/op.js'

/** Gradients of values that a node may read in several places. */
export class Total {
  private readonly sums = new Map<Value, Value>()

  add(x: Value | null | undefined, dx: Value | null | undefined): void {
    if (!x || !dx) return
    const before = this.sums.get(x)
    this.sums.set(x, before ? op.Add(before, dx) : dx)
  }

  of(x: Value): Value | null {
    return this.sums.get(x) ?? null
  }
}
