import { batches } from '../../data/batches.js'
import type { DatasetOrStream } from '../../data/stream.js'
import type { Tensors } from '../../ir/tensor.js'
import type { TrainingGraphs } from '../../train/graphs/build.js'
import { fixedBatchSize } from '../../train/micro-batches.js'
import { prepareBatch } from '../../train/validate-batch.js'
import { OnnxIreError } from '../../util/errors.js'

/** Maximal number of bytes of data in memory; a larger data set is read again in every pass. */
const maxCacheBytes = 2 ** 28

/** A batch in the types and shapes of the graph's inputs. */
export interface PreparedBatch {
  readonly tensors: Tensors
  readonly size: number
}

/** Batches of a data set, prepared for the graphs and read many times in the same order. */
export class BatchCache {
  readonly #data: DatasetOrStream
  readonly #graphs: TrainingGraphs
  readonly #batchSize: number
  #cached: readonly PreparedBatch[] | null = null

  /** Throws `invalid-data` if the model's fixed batch size does not divide the number of examples. */
  constructor(data: DatasetOrStream, graphs: TrainingGraphs, batchSize: number) {
    const fixed = fixedBatchSize(graphs.data)
    this.#data = data
    this.#graphs = graphs
    this.#batchSize = fixed ?? batchSize
    if (fixed !== undefined && data.length !== undefined && data.length % fixed !== 0)
      throw new OnnxIreError(
        'invalid-data',
        `the model has the fixed batch size ${fixed}, which does not divide ${data.length} examples: use a number of examples divisible by ${fixed}`,
      )
  }

  get examples(): number | undefined {
    return this.#data.length
  }

  async *read(): AsyncGenerator<PreparedBatch> {
    if (this.#cached) {
      yield* this.#cached
      return
    }
    const read: PreparedBatch[] = []
    let bytes = 0
    for await (const batch of batches(this.#data, { batchSize: this.#batchSize })) {
      const tensors = prepareBatch(batch.tensors, this.#graphs.data, this.#graphs.loss.labels)
      const prepared = { tensors, size: batch.size }
      for (const { data } of Object.values(tensors)) bytes += 'byteLength' in data ? data.byteLength : 16 * data.length
      if (bytes <= maxCacheBytes) read.push(prepared)
      else read.length = 0
      yield prepared
    }
    if (bytes <= maxCacheBytes) this.#cached = read
  }
}
