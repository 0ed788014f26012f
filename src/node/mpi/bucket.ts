import type { FloatArray } from '../../ir/float-array.js'

/** Arrays from this length on are sent in place: copying them takes longer than a message of their own. */
const minInPlaceLength = 2 ** 15
/** Largest length of a bucket of small arrays: 4 MB of 32-bit numbers. */
const maxBucketLength = 2 ** 20

type NumberArray = FloatArray | Uint8Array

/** Sends arrays, or reduces them, in few messages: large arrays in place, small ones in buckets. */
export async function sendInBuckets<A extends NumberArray>(
  arrays: readonly A[],
  send: (array: A) => Promise<void>,
): Promise<void> {
  for (const array of arrays) if (array.length >= minInPlaceLength) await send(array)
  for (const type of [Float32Array, Float64Array, Uint8Array]) {
    let bucket: A[] = []
    let length = 0
    const flush = async () => {
      if (bucket.length === 1) await send(bucket[0]!)
      else if (bucket.length > 1) await sendTogether(bucket, new type(length) as NumberArray as A, send)
      bucket = []
      length = 0
    }
    for (const array of arrays) {
      if (!(array instanceof type) || array.length >= minInPlaceLength || array.length === 0) continue
      if (length + array.length > maxBucketLength) await flush()
      bucket.push(array)
      length += array.length
    }
    await flush()
  }
}

async function sendTogether<A extends NumberArray>(
  arrays: readonly A[],
  together: A,
  send: (array: A) => Promise<void>,
): Promise<void> {
  let at = 0
  for (const array of arrays) {
    together.set(array, at)
    at += array.length
  }
  await send(together)
  at = 0
  for (const array of arrays) {
    array.set(together.subarray(at, at + array.length))
    at += array.length
  }
}
