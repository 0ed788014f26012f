import { dtypes, isFloat, isHalf } from '../../ir/dtype.js'
import { numbersOf, tensorFrom } from '../../ir/leaf.js'
import { isStatic, type Shape } from '../../ir/shape.js'
import { sizeOf, type Tensor, type Tensors } from '../../ir/tensor.js'
import type { Value } from '../../ir/value.js'
import { compileModel } from '../../lowering/compile.js'
import { createInput, listInputs } from '../../onnx/import/declarations.js'
import { checkModel, type Model, namedTensors } from '../../onnx/model.js'
import { checkRuntime, type Program, type Runtime } from '../../runtime/runtime.js'
import { checkArguments } from '../../util/check.js'
import { OnnxIreError } from '../../util/errors.js'
import { Random } from '../../util/random.js'
import { getOwn } from '../../util/record.js'
import { type FreedBatch, freeBatchAxis, freeBatchError } from './free-batch-axis.js'

/** Options of `freeBatch`. */
export interface FreeBatchOptions {
  /** Runtime that runs both models. */
  readonly runtime: Runtime
  /** Shapes of inputs with symbolic lengths, by name, for the runs. Default: several lengths are tried. */
  readonly shapes?: Readonly<Record<string, readonly number[]>>
}

/** Runs of the old model; the new one computes all of their examples at once. */
const runs = 3

/**
 * Rewrites a model whose file fixes the number of examples, often at 1, to one that takes any number, so that training
 * computes whole batches at once. Shape inference proves that results grow with the number of examples, and both models
 * are run on random inputs: each example has to give the same outputs as alone. A model that takes any number already
 * is returned unchanged.
 *
 * @example
 * ```ts
 * const { model, fixed } = await freeBatch(await readModel('model.onnx'), { runtime: node() })
 * ```
 *
 * @throws OnnxIreError `invalid-option` with the reason, and the node and the constant that depend on the number
 */
export async function freeBatch(model: Model, options: FreeBatchOptions): Promise<FreedBatch> {
  checkArguments('freeBatch(model, { runtime })', { options })
  checkModel(model)
  const { runtime, shapes = {} } = options
  checkRuntime('freeBatch', runtime)
  const freed = freeBatchAxis(model)
  if (freed.fixed === null) return freed
  const [before, after] = [await compileModel(runtime, model), await compileModel(runtime, freed.model)]
  try {
    await compareBatches({ before, after, model, fixed: freed.fixed, shapes })
  } finally {
    await before.release()
    await after.release()
  }
  return freed
}

interface Comparison {
  readonly before: Program
  readonly after: Program
  readonly model: Model
  /** Number of examples of a run of the old model. */
  readonly fixed: number
  readonly shapes: Readonly<Record<string, readonly number[]>>
}

async function compareBatches({ before, after, model, fixed, shapes }: Comparison): Promise<void> {
  const { feeds, single } = await runAlone(before, model, shapes)
  let together: Tensors
  try {
    together = await after.run(joinFeeds(feeds))
  } catch (cause) {
    throw freeBatchError(`${runs * fixed} examples together fail: ${(cause as Error).message}`, cause)
  }
  const isHalfPrecision = [...namedTensors(model).values()].some(({ dtype }) => isHalf(dtype))
  for (const [name, tensor] of Object.entries(together))
    compareOutput(
      name,
      single.map((outputs) => outputs[name]!),
      tensor,
      isHalfPrecision ? 0.02 : 2e-4,
    )
}

/** Lengths that are tried for axes whose length the file leaves open. */
const triedLengths = [32, 64, 224, 8]

/** Runs the old model on random inputs. */
async function runAlone(
  program: Program,
  model: Model,
  shapes: Comparison['shapes'],
): Promise<{ readonly feeds: readonly Tensors[]; readonly single: readonly Tensors[] }> {
  const inputs = listInputs(model.proto).map((info) => createInput(info))
  const isOpen = inputs.some(({ name, shape }) => !Object.hasOwn(shapes, name!) && !isStatic(shape))
  let failure: unknown
  for (const length of isOpen ? triedLengths : [1]) {
    const random = new Random(0).stream(`batch-${length}`)
    const draw = () =>
      Object.fromEntries(inputs.map((value) => [value.name!, drawInput(value, shapes, length, random)]))
    const scalars = Object.fromEntries(Object.entries(draw()).filter(([, { dims }]) => dims.length === 0))
    const feeds = Array.from({ length: runs }, () => ({ ...draw(), ...scalars }))
    try {
      const single: Tensors[] = []
      for (const feed of feeds) single.push(await program.run(feed))
      return { feeds, single }
    } catch (cause) {
      if (!(cause instanceof OnnxIreError)) throw cause
      failure = cause
    }
  }
  throw freeBatchError(
    `the model cannot be run on random inputs${isOpen ? '; give the lengths that the file leaves open (shapes, or --shape)' : ''}: ${(failure as Error).message}`,
    failure,
  )
}

/** Random numbers for an input: normal, and zeros and ones for integers, which are indices of every table. */
function drawInput(
  { name = '', dtype, shape }: Value,
  shapes: Comparison['shapes'],
  length: number,
  random: Random,
): Tensor {
  const known: Shape | undefined = getOwn(shapes, name) ?? shape
  if (!known || dtype === 'string' || dtypes[dtype].bits === 4)
    throw freeBatchError(`input '${name}' has an unknown number of axes or holds ${dtype}, so that it cannot be tested`)
  const dims = known.map((dim) => (typeof dim === 'number' ? dim : length))
  const draw = () => (isFloat(dtype) ? random.normal() : Number(random.uniform() < 0.5))
  return tensorFrom(dtype, dims, Array.from({ length: sizeOf(dims) }, draw))
}

/** The examples of all feeds as one. Scalars are the same in all feeds. */
const joinFeeds = (feeds: readonly Tensors[]): Tensors =>
  Object.fromEntries(
    Object.entries(feeds[0]!).map(([name, { dtype, dims }]) => {
      if (dims.length === 0) return [name, feeds[0]![name]!]
      const values = feeds.flatMap((feed) => numbersOf(feed[name]!))
      return [name, tensorFrom(dtype, [feeds.length * dims[0]!, ...dims.slice(1)], values)]
    }),
  )

/**
 * Share of the elements that may differ, each in one run: rounding decides comparisons of almost equal numbers, such as
 * those that suppress all but the largest of neighbors.
 */
const maxFlipShare = 1e-3

/** Throws unless the examples of `together` equal those of `single`, joined in one axis. */
function compareOutput(name: string, single: readonly Tensor[], together: Tensor, tolerance: number): void {
  const [first] = single
  const axis = together.dims.findIndex((length, i) => length !== first!.dims[i])
  const isJoined =
    together.dims.length === first!.dims.length &&
    single.every(({ dims }) => dims.every((length, i) => length === first!.dims[i])) &&
    together.dims.every((length, i) => length === (i === axis ? single.length : 1) * first!.dims[i]!)
  if (!isJoined)
    throw freeBatchError(
      `output '${name}' has the shape [${together.dims.join(', ')}] for ${single.length} examples together, and ${single.map(({ dims }) => `[${dims.join(', ')}]`).join(', ')} alone`,
    )
  const expected = single.map(numbersOf)
  const found = numbersOf(together)
  const at = Math.max(axis, 0)
  const inner = sizeOf(first!.dims.slice(at)) // elements of a run within one index of the axes before
  const scale = expected.reduce((most, values) => values.reduce((a, b) => Math.max(a, finite(Math.abs(b))), most), 0)
  const count = axis < 0 ? 1 : single.length
  const allowed = isFloat(first!.dtype) ? tolerance * scale : 0
  let largest = 0
  /** Runs that differ, by the position of the element in a run. */
  const differences = new Map<number, number>()
  for (const [i, value] of found.entries()) {
    const run = Math.floor(i / inner) % count
    const at = Math.floor(i / (inner * count)) * inner + (i % inner)
    const alone = expected[run]![at]!
    if (Object.is(alone, value)) continue
    const difference = finite(Math.abs(alone - value), Number.POSITIVE_INFINITY)
    if (difference > allowed) differences.set(at, (differences.get(at) ?? 0) + 1)
    largest = Math.max(largest, difference)
  }
  const isRepeated = [...differences.values()].some((runs) => runs > 1)
  if (isRepeated || differences.size > maxFlipShare * found.length)
    throw freeBatchError(
      `output '${name}' of an example differs by ${largest} if others are computed together with it (the largest magnitude is ${scale}): a node combines the examples`,
    )
}

const finite = (x: number, other = 0): number => (Number.isFinite(x) ? x : other)
