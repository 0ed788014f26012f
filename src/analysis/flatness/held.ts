import { batches } from '../../data/batches.js'
import type { DatasetOrStream } from '../../data/stream.js'
import type { Tensors } from '../../ir/tensor.js'
import type { TrainingGraphs } from '../../train/graphs/build.js'
import { fixedBatchSize } from '../../train/micro-batches.js'
import { prepareBatch } from '../../train/validate-batch.js'
import { OnnxIreError } from '../../util/errors.js'

/** Data are held in memory up to so many bytes; more is read again in every pass. */
const mostBytes = 2 ** 28

export interface ConformedBatch {
  readonly tensors: Tensors
  readonly size: number
}

/** A data set in the form the graphs take, gone through many times in the same order. */
export class HeldBatches {
  private readonly data: DatasetOrStream
  private readonly graphs: TrainingGraphs
  private readonly batchSize: number
  private held: readonly ConformedBatch[] | null = null

  /** Throws `invalid-data` where the model takes a fixed number of examples that does not divide theirs. */
  constructor(data: DatasetOrStream, graphs: TrainingGraphs, batchSize: number) {
    const fixed = fixedBatchSize(graphs.data)
    this.data = data
    this.graphs = graphs
    this.batchSize = fixed ?? batchSize
    if (fixed !== undefined && data.length !== undefined && data.length % fixed !== 0)
      throw new OnnxIreError(
        'invalid-data',
        `the model takes ${fixed} examples at once, and there are ${data.length}: give a number of examples divisible by ${fixed}`,
      )
  }

  get examples(): number | undefined {
    return this.data.length
  }

  async *read(): AsyncGenerator<ConformedBatch> {
    if (this.held) {
      yield* this.held
      return
    }
    const read: ConformedBatch[] = []
    let bytes = 0
    for await (const batch of batches(this.data, { batchSize: this.batchSize })) {
      const tensors = prepareBatch(batch.tensors, this.graphs.data, this.graphs.loss.labels)
      const conformed = { tensors, size: batch.size }
      for (const { data } of Object.values(tensors)) bytes += 'byteLength' in data ? data.byteLength : 16 * data.length
      if (bytes <= mostBytes) read.push(conformed)
      else read.length = 0
      yield conformed
    }
    if (bytes <= mostBytes) this.held = read
  }
}
