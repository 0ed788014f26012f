import { batches } from '../data/batches.js'
import { type Dataset, deriveChecksum, fittingOf, identityOf } from '../data/dataset.js'
import { checksumExample, type DataExample } from '../data/examples.js'
import { collateExamples, type DatasetOrStream } from '../data/stream.js'
import type { TransformedData } from '../data/transform.js'
import { rowsOf, sizeOf, type Tensor, type Tensors } from '../ir/tensor.js'
import { leavesOf } from '../ir/topology.js'
import { findClassScores } from '../loss/class-scores.js'
import { teacherClassesName, teacherLogitsName } from '../loss/distillation.js'
import { compileGraph } from '../lowering/compile.js'
import { importGraph } from '../onnx/import/import-graph.js'
import type { Model } from '../onnx/model.js'
import { op } from '../op/op.js'
import { disableDropout } from '../op/rewrite.js'
import type { Runtime } from '../runtime/runtime.js'
import { checkArguments, checkNames, checkNumber, positiveCount } from '../util/check.js'
import { checksum } from '../util/checksum.js'
import { OnnxIreError } from '../util/errors.js'
import { getOwn } from '../util/record.js'
import { fixedBatchSize } from './micro-batches.js'
import { runPadded } from './predict.js'
import { prepareBatch } from './prepare-batch.js'

/** Options of `addTeacher`. */
export interface TeacherOptions {
  /** Runtime that runs the teacher. */
  readonly runtime: Runtime
  /** Number of classes with the largest logits that are stored. Default 32, or all if the teacher has fewer. */
  readonly classes?: number | undefined
  /** Output of the teacher that holds the logits. Default: the only output. */
  readonly logits?: string | undefined
  /** Axis of the classes, as in `crossEntropy`. */
  readonly axis?: number | undefined
  /**
   * Number of examples per run of the teacher, for a data set; a stream is read one example at a time. Default 32.
   * Ignored if the teacher's file fixes the number.
   */
  readonly batchSize?: number | undefined
}

/** Largest logits of one example with their classes: [..., k]. */
interface StoredLogits {
  readonly logits: Tensor
  readonly classes: Tensor
  /** Name of the input with the length that the logits follow; undefined for logits of one length. */
  readonly like: string | undefined
}

/**
 * Runs a teacher over data once, and adds its largest logits with their classes to every batch, as the tensors
 * `teacher_logits` and `teacher_classes` for `distillation({ teacher: 'data' })`. They are stored in memory.
 * Augmentation changes the inputs of the trained model only, and so do the statistics of a table that is split later.
 * @throws OnnxIreError `invalid-data`, `invalid-option`, `runtime`; while reading a stream, `invalid-data` for an
 * example that its first epoch did not have
 * @example
 * ```ts
 * const taught = await addTeacher(data, teacher, { runtime, classes: 16 })
 * await trainer.train(taught, { totalEpochs: 10 })
 * ```
 */
export async function addTeacher<D extends DatasetOrStream>(
  data: D,
  teacher: Model,
  options: TeacherOptions,
): Promise<TransformedData<D>>
export async function addTeacher(
  data: DatasetOrStream,
  teacher: Model,
  options: TeacherOptions,
): Promise<DatasetOrStream> {
  checkArguments('addTeacher(data, teacher, { runtime })', { options })
  checkNames('addTeacher', options, ['runtime', 'classes', 'logits', 'axis', 'batchSize'])
  const { batchSize = 32 } = options
  checkNumber('addTeacher', 'batchSize', batchSize, positiveCount)
  const run = await compileTeacher(teacher, options)
  try {
    if ('batch' in data) {
      const stored: StoredLogits[] = []
      for await (const { tensors, size } of batches(data, { batchSize: run.fixedSize ?? batchSize }))
        stored.push(...(await run.logits(tensors, size)))
      return addStored(data, stored)
    }
    const stored = new Map<string, StoredLogits>()
    for await (const example of data.examples(0)) {
      const tensors = await collateExamples(data, [example], [0])
      stored.set(checksumExample(example), (await run.logits(tensors, 1))[0]!)
    }
    const find = (example: DataExample) => {
      const found = stored.get(checksumExample(example))
      if (found) return found
      throw new OnnxIreError(
        'invalid-data',
        'addTeacher: the stream has an example that its first epoch did not have: use a teacher in the loss, distillation({ teacher: model })',
      )
    }
    return {
      length: data.length,
      shuffleBuffer: data.shuffleBuffer,
      examples: (epoch) => data.examples(epoch),
      collate: async (examples, indices, context) =>
        addLogits(await collateExamples(data, examples, indices, context), examples.map(find)),
      checksum: deriveChecksum(data, checksumStored(stored.values())),
      statistics: data.statistics,
    }
  } finally {
    await run.release()
  }
}

/** Adds the stored logits of every example to the batches of a data set. */
const addStored = (data: Dataset, stored: readonly StoredLogits[]): Dataset => ({
  length: data.length,
  batch: async (indices, context) =>
    addLogits(
      await data.batch(indices, context),
      Array.from(indices, (i) => stored[i]!),
    ),
  checksum: deriveChecksum(data, checksumStored(stored)),
  identify: identityOf(data),
  ...fittingOf(data, (fitted) => addStored(fitted, stored)),
})

/** Compiles a teacher that returns its largest logits. */
async function compileTeacher(teacher: Model, { runtime, classes = 32, logits, axis }: TeacherOptions) {
  checkNumber('addTeacher', 'classes', classes, positiveCount)
  const graph = disableDropout(importGraph(teacher))
  const scores = findClassScores(graph.outputs, logits, axis, 'addTeacher')
  const count = scores.shape[scores.axis]
  const k = typeof count === 'number' ? Math.min(classes, count) : classes
  const [best, indices] = op.TopK(scores.z, [k], { axis: scores.axis })
  const used = new Set(leavesOf([best]))
  const inputs = new Map([...graph.inputs].filter(([, value]) => used.has(value)))
  const outputs = new Map([
    ['logits', best],
    ['classes', indices],
  ])
  const fixedSize = fixedBatchSize(inputs)
  const program = await compileGraph(runtime, { name: 'teacher', inputs, outputs })
  return {
    fixedSize,
    release: () => program.release(),
    async logits(tensors: Tensors, size: number): Promise<StoredLogits[]> {
      const feeds = prepareBatch(tensors, inputs, undefined)
      const found = await runPadded(program, feeds, size, fixedSize ?? size)
      const { dims } = found['logits']!
      const like = scores.axis > 1 ? Object.keys(feeds).find((name) => feeds[name]!.dims[1] === dims[1]) : undefined
      const row = (name: string, i: number): Tensor => {
        const { dims, ...rest } = rowsOf(found[name]!, i, i + 1)
        return { ...rest, dims: dims.slice(1) }
      }
      return Array.from({ length: size }, (_, i) => ({ logits: row('logits', i), classes: row('classes', i), like }))
    },
  }
}

const checksumStored = (stored: Iterable<StoredLogits>): string =>
  checksum(Array.from(stored, ({ logits }) => logits.data as Float32Array))

/**
 * Adds stored logits to a batch, whose padding may be longer or shorter than that of the batch they were computed in.
 */
function addLogits(batch: Tensors, stored: readonly StoredLogits[]): Tensors {
  const like = stored[0]?.like
  const length = like === undefined ? undefined : getOwn(batch, like)?.dims[1]
  const stack = (of: (each: StoredLogits) => Tensor): Tensor => {
    const first = of(stored[0]!)
    const dims = length === undefined ? first.dims : [length, ...first.dims.slice(1)]
    const size = sizeOf(dims)
    const data = new (first.data.constructor as new (length: number) => Float32Array)(stored.length * size)
    for (const [i, each] of stored.entries()) data.set((of(each).data as Float32Array).subarray(0, size), i * size)
    return { dtype: first.dtype, dims: [stored.length, ...dims], data }
  }
  return {
    ...batch,
    [teacherLogitsName]: stack(({ logits }) => logits),
    [teacherClassesName]: stack(({ classes }) => classes),
  }
}
