import type { FloatArray } from '../../ir/float-array.js'

/** Arrays from this length on are reduced in place: copying them takes longer than a message of their own. */
const largeLength = 2 ** 15
/** Largest length of a bucket of small arrays: 4 MB of 32-bit numbers. */
const bucketLength = 2 ** 20

/** Reduces arrays in few messages: large arrays in place, small ones in buckets. */
export async function reduceInBuckets(
  arrays: readonly FloatArray[],
  reduce: (array: FloatArray) => Promise<void>,
): Promise<void> {
  for (const array of arrays) if (array.length >= largeLength) await reduce(array)
  for (const type of [Float32Array, Float64Array]) {
    let bucket: FloatArray[] = []
    let length = 0
    const flush = async () => {
      if (bucket.length === 1) await reduce(bucket[0]!)
      else if (bucket.length > 1) await reduceTogether(bucket, new type(length), reduce)
      bucket = []
      length = 0
    }
    for (const array of arrays) {
      if (!(array instanceof type) || array.length >= largeLength || array.length === 0) continue
      if (length + array.length > bucketLength) await flush()
      bucket.push(array)
      length += array.length
    }
    await flush()
  }
}

async function reduceTogether(
  arrays: readonly FloatArray[],
  together: FloatArray,
  reduce: (array: FloatArray) => Promise<void>,
): Promise<void> {
  let at = 0
  for (const array of arrays) {
    together.set(array, at)
    at += array.length
  }
  await reduce(together)
  at = 0
  for (const array of arrays) {
    array.set(together.subarray(at, at + array.length))
    at += array.length
  }
}
