/** The amount of work of an invocation. */
export interface Division {
  /** The largest number of rows and of columns of a matrix product that an invocation computes. */
  readonly tile: number
  /** Invocations that a kernel should have at least; work is divided further below this number. */
  readonly invocations: number
}

/** The division for a GPU: the sums of a tile fit into the registers of most. */
export const gpuDivision: Division = { tile: 8, invocations: 512 }
