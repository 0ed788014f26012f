import type { FloatArray } from '../ir/float-array.js'

/** What a formula reads and writes, by name, all of one length. Bytes hold a mask, of 0 and 1. */
export type Arrays = Readonly<Record<string, FloatArray | Uint8Array>>

/** The numbers that are the same for all elements, by name. */
export type Scalars = Readonly<Record<string, number>>

/** A formula made ready to be computed: it writes the outputs in place and returns the sums of squares by name. */
export type Kernel = (arrays: Arrays, scalars: Scalars) => Readonly<Record<string, number>>
