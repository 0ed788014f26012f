import { OnnxIreError } from '../errors.js'
import { checkBoolean, checkNumber, count, positiveCount } from '../optim/option.js'
import type { Random } from '../random.js'
import type { Tensors } from '../runtime/runtime.js'
import type { Dataset } from './dataset.js'

export interface BatchOptions {
  /** Examples per batch. */
  readonly batchSize: number
  /** Leaves out the last batch of an epoch when it is not full. Default false. */
  readonly dropLast?: boolean | undefined
}

export interface EpochOptions extends BatchOptions {
  /**
   * Shuffles: the order of epoch e is a permutation drawn from this generator's stream 'epoch e', which depends on its
   * seed and e alone, so any epoch can be entered at any batch and sees what an uninterrupted run saw. Without it the
   * order is that of the data set.
   */
  readonly shuffle?: Random | undefined
  /** Which epoch, from 0. Default 0. */
  readonly epoch?: number | undefined
  /** The batch of the epoch to begin with, from 0. Default 0. */
  readonly start?: number | undefined
}

export interface Batch {
  readonly tensors: Tensors
  /** The numbers of its examples in the data set. */
  readonly indices: Uint32Array
  /** Its number in the epoch, from 0: resume with `start: number + 1`. */
  readonly number: number
  /** Examples in it. */
  readonly size: number
  /** Whether it is the last one of the epoch. */
  readonly last: boolean
}

/**
 * How many batches an epoch over `length` examples has.
 * @throws 'invalid-data' when there is none
 */
export function batchCount(length: number, { batchSize, dropLast = false }: BatchOptions): number {
  checkNumber('batches', 'batchSize', batchSize, positiveCount)
  checkBoolean('batches', 'dropLast', dropLast)
  const batches = dropLast ? Math.floor(length / batchSize) : Math.ceil(length / batchSize)
  if (batches > 0) return batches
  throw new OnnxIreError(
    'invalid-data',
    length === 0
      ? 'the data set has no examples'
      : `the data set has ${length} examples, less than one batch of ${batchSize}, and dropLast leaves that out: lower batchSize`,
  )
}

/**
 * One epoch of a data set, batch by batch. While the consumer works on a batch the next one is already asked for, and no
 * more than that one; should that fail, the error comes when it is the next one's turn. Leaving the loop early waits for
 * the batch that was asked for and drops it.
 * @throws 'invalid-option', or 'invalid-data' when there are no batches or the data set returns something else than it was asked for
 */
export function batches(dataset: Dataset, options: EpochOptions): AsyncGenerator<Batch, void, undefined> {
  const { batchSize, shuffle, epoch = 0, start = 0 } = options
  const total = batchCount(dataset.length, options)
  checkNumber('batches', 'epoch', epoch, count)
  checkNumber('batches', 'start', start, { min: 0, max: total, integer: true })
  const order = shuffle?.stream(`epoch ${epoch}`).permutation(dataset.length)

  async function load(number: number): Promise<Batch> {
    const first = number * batchSize
    const size = Math.min(batchSize, dataset.length - first)
    const indices = order?.slice(first, first + size) ?? Uint32Array.from({ length: size }, (_, i) => first + i)
    const tensors = await dataset.batch(indices)
    checkBatch(tensors, size)
    return { tensors, indices, number, size, last: number === total - 1 }
  }
  return readAhead(load, start, total)
}

async function* readAhead(
  load: (number: number) => Promise<Batch>,
  start: number,
  end: number,
): AsyncGenerator<Batch, void, undefined> {
  let ahead: Promise<Batch> | null = null
  const ask = (number: number) => {
    ahead = number < end ? load(number) : null
    ahead?.catch(() => {}) // looked at when its turn comes: until then a failure is nobody's unhandled rejection
    return ahead
  }
  try {
    let next = ask(start)
    while (next) {
      const batch: Batch = await next
      next = ask(batch.number + 1)
      yield batch
    }
  } finally {
    await Promise.allSettled([ahead])
  }
}

/** Some tensor must have one entry per example; others may be the same for every batch (a sample rate, an initial state). */
function checkBatch(tensors: Tensors, size: number): void {
  const shapes = Object.entries(tensors).map(([name, { dims }]) => `'${name}' [${dims.join(', ')}]`)
  if (Object.values(tensors).some(({ dims }) => dims[0] === size)) return
  throw new OnnxIreError(
    'invalid-data',
    `the data set was asked for ${size} examples and returned ${shapes.join(', ') || 'nothing'}; the leading axis of a tensor counts its examples, and none counts ${size}`,
  )
}
