import type { TensorMap } from '../backend/backend.js'
import { fromArrays } from '../data/arrays.js'
import { batches } from '../data/batches.js'
import type { Dataset } from '../data/dataset.js'
import type { DatasetOrStream } from '../data/stream.js'
import { transform } from '../data/transform.js'
import { dtypes, type TypedArray } from '../ir/dtype.js'
import { formatShape } from '../ir/shape.js'
import { checksumTensor, sizeOf, type Tensor, type Tensors } from '../ir/tensor.js'
import { leavesOf } from '../ir/topology.js'
import type { Graph, Value } from '../ir/value.js'
import { compileGraph } from '../lowering/compile.js'
import { fileRangeOf } from '../onnx/proto/tensor.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import type { Runtime } from '../runtime/runtime.js'
import { bytesOf } from '../util/bytes.js'
import { mapConcurrently } from '../util/concurrent.js'
import { OnnxIreError } from '../util/errors.js'
import { Random, type RandomState } from '../util/random.js'
import { Aborted, orAborted, type Signal, unlessAborted } from '../util/until-aborted.js'
import { checksumGraph } from './checkpoint/checksums.js'
import { buildGraphs, type TrainingGraphs, type TrainingOptions } from './graphs/build.js'
import { divideGraph } from './graphs/divide-graph.js'
import { fixedBatchSize } from './micro-batches.js'
import { prepareForTraining } from './model/prepare-model.js'
import { runPadded } from './predict.js'
import { prepareBatch } from './prepare-batch.js'
import type { Programs } from './programs.js'

/** Files for features that take more memory than they may, from `featureFiles(folder)` for instance. */
export interface FeatureStore {
  /** Bytes that the features of one data set may take in memory. */
  readonly memory: number
  /** Creates a file. */
  create(): Promise<FeatureFile>
}

/** A temporary file of numbers. */
export interface FeatureFile {
  /** Writes bytes at an offset. */
  write(bytes: Uint8Array, offset: number): Promise<void>
  /** Reads `length` bytes from an offset on. */
  read(length: number, offset: number): Promise<Uint8Array>
  /** Closes and removes the file. */
  remove(): Promise<void>
}

/** Progress of the pass that computes the features of a data set. */
export interface FeatureProgress {
  /** Number of examples whose features are computed. */
  readonly done: number
  /** Number of examples of the data set. */
  readonly total: number
}

/** Called after every batch of such a pass. */
export type OnFeatures = (progress: FeatureProgress) => void | Promise<void>

/** Training of the layers after a frozen part of the model, on the features that the frozen part computes. */
export interface FeatureStage {
  /** Programs of the layers that are trained. */
  readonly programs: Programs<TensorMap>
  /** The frozen part: values that the layers read, by the names of their inputs. */
  readonly features: ReadonlyMap<string, Value>
}

/**
 * Builds the graphs of the layers after the frozen part of a model. Returns null if no part is frozen. Norms and
 * Dropout nodes of the frozen part are in inference mode.
 * @param whole graphs of the whole model
 * @param trained names of the parameters that are trained
 */
export function buildFeatureStage(
  graph: Graph,
  whole: TrainingGraphs,
  trained: ReadonlySet<string>,
  options: TrainingOptions,
): { readonly graphs: TrainingGraphs; readonly features: ReadonlyMap<string, Value> } | null {
  if (trained.size === 0) return null
  const divided = divideGraph(graph, new Set([...trained].map((name) => whole.parameters.get(name)!)))
  const frozen = new Set([...graph.parameters.keys()].filter((name) => !trained.has(name)))
  const graphs = buildGraphs(prepareForTraining(divided.graph, options), {
    ...options,
    trainable: [...trained],
    frozen,
  })
  const features = new Map([...divided.features].filter(([name]) => graphs.data.has(name)))
  return features.size > 0 ? { graphs, features } : null
}

/**
 * Checks the first stage of training with cached features.
 * @throws OnnxIreError `invalid-option` if no part of the model is frozen, or if an option applies only to the part
 * that is never trained
 */
export function checkFeatures(
  stage: FeatureStage | null,
  whole: TrainingGraphs,
  settings: Readonly<Record<string, ParameterSettings>>,
): void {
  if (!stage)
    throw new OnnxIreError(
      'invalid-option',
      "features: 'cached' needs layers that are frozen before the first trained one, but training begins at the model's first layers: freeze them, for instance by freeze: { except: 'head' }, or omit the option",
    )
  if (Object.values(settings).some(({ startStep = 0 }) => startStep > 0)) return
  const { graphs } = stage.programs
  const refuse = (option: string, nodes: string): never => {
    throw new OnnxIreError(
      'invalid-option',
      `features: 'cached' runs the frozen layers once, in inference mode, so ${option} cannot apply to their ${nodes}: omit one of the two options`,
    )
  }
  if (graphs.statistics.size < whole.statistics.size) refuse("batchNorm: 'trained'", 'norms')
  if (graphs.noise.size < whole.noise.size) refuse("dropout: 'on'", 'Dropout nodes')
}

/** Features of a data set, which several trainers may read. */
interface ComputedFeatures {
  /** The stage that they were computed for. */
  readonly stage: FeatureStage
  /** Text that differs for other features of the same data. */
  readonly identify: () => string
  readonly dataset: Promise<Dataset>
  /** All features of the same data, these included. */
  readonly all: Set<ComputedFeatures>
  /** The caches that read them. */
  readonly users: Set<FeatureCache>
}

/** Features in memory by their data: trainers with the same frozen part share them. */
const sharedFeatures = new WeakMap<Dataset, Set<ComputedFeatures>>()

/**
 * Computes and stores the features of data: each data set is read, and the frozen part run on it, once per stage. Other
 * caches with the same frozen part read them too, until all of these are released.
 */
export class FeatureCache {
  readonly #runtime: Runtime
  /** Graphs of the whole model, whose inputs the data have. */
  readonly #graphs: TrainingGraphs
  readonly #batchSize: number
  /** The number of examples that the model's file fixes. */
  readonly #fixedSize: number | undefined
  readonly #store: FeatureStore | undefined
  /** Features by their data. Those with files belong to this cache alone, which removes the files. */
  readonly #known: WeakMap<Dataset, Set<ComputedFeatures>>
  readonly #identities = new WeakMap<FeatureStage, string>()
  /** The features that this cache reads. Data that are no longer used are freed with their features. */
  readonly #used: WeakRef<ComputedFeatures>[] = []
  readonly #files: FeatureFile[] = []

  /**
   * @param batchSize number of examples per run of the frozen part, unless the model's file fixes it
   * @param store files for features beyond the memory that they may take. Default: all are in memory
   */
  constructor(runtime: Runtime, graphs: TrainingGraphs, batchSize: number, store?: FeatureStore) {
    this.#runtime = runtime
    this.#graphs = graphs
    this.#fixedSize = fixedBatchSize(graphs.data)
    this.#batchSize = this.#fixedSize ?? batchSize
    this.#store = store
    this.#known = store ? new WeakMap() : sharedFeatures
  }

  /**
   * Returns the training data of a stage: its features, and the other tensors that its layers and the loss read.
   * @param onBatch called after every batch of the frozen part
   * @throws Aborted if the signal is aborted meanwhile
   * @throws OnnxIreError `invalid-data` for a stream, for data that are augmented, and for examples of several shapes
   */
  async trainingFeaturesOf(
    stage: FeatureStage,
    data: DatasetOrStream,
    onBatch?: OnFeatures,
    signal?: Signal,
  ): Promise<Dataset> {
    if (!('batch' in data))
      throw new OnnxIreError(
        'invalid-data',
        "features are 'cached', but the training data are a stream, which cannot be read by index: load the examples into a data set, or omit the option features",
      )
    await checkNotAugmented(data, this.#batchSize, signal)
    return this.featuresOf(stage, data, onBatch, signal)
  }

  /**
   * Returns the data of a stage as `trainingFeaturesOf` does, augmented or not: evaluations do not augment.
   * @throws Aborted if the signal is aborted meanwhile, also if another cache computes the features
   */
  async featuresOf(stage: FeatureStage, data: Dataset, onBatch?: OnFeatures, signal?: Signal): Promise<Dataset> {
    const all = this.#known.get(data) ?? new Set<ComputedFeatures>()
    this.#known.set(data, all)
    for (;;) {
      const found = [...all].find((each) => each.stage === stage || each.identify() === this.#identify(stage))
      const features = found ?? this.#start(stage, data, all, onBatch, signal)
      this.#use(features)
      let dataset: Dataset | undefined
      try {
        dataset = await unlessAborted(features.dataset, found && signal)
      } catch (error) {
        all.delete(features)
        // A trainer that was stopped, or has failed, leaves the work to the others.
        if (!found) throw error
        continue
      }
      if (dataset) return dataset
      throw new Aborted(signal!)
    }
  }

  /** Frees the features that no other cache reads, and removes the files. */
  async release(): Promise<void> {
    for (const each of this.#used.splice(0)) {
      const features = each.deref()
      features?.users.delete(this)
      if (features?.users.size === 0) features.all.delete(features)
    }
    for (const file of this.#files.splice(0)) await file.remove()
  }

  #start(
    stage: FeatureStage,
    data: Dataset,
    all: Set<ComputedFeatures>,
    onBatch?: OnFeatures,
    signal?: Signal,
  ): ComputedFeatures {
    const dataset = this.#compute(stage, data, onBatch, signal)
    const features = { stage, identify: () => this.#identify(stage), dataset, all, users: new Set<FeatureCache>() }
    all.add(features)
    return features
  }

  #use(features: ComputedFeatures): void {
    if (features.users.has(this)) return
    features.users.add(this)
    this.#used.push(new WeakRef(features))
  }

  /** Describes the frozen part, its weights and the conversion of the data: what the features depend on. */
  #identify(stage: FeatureStage): string {
    const known = this.#identities.get(stage)
    if (known !== undefined) return known
    const { provider, description } = this.#runtime
    const { data } = stage.programs.graphs
    const outputs = [...stage.features].filter(([name]) => data.has(name)).map(([, value]) => value)
    const tensors = leavesOf(outputs).map(({ source }) => source.kind === 'parameter' && identifyTensor(source.tensor))
    const labels = [...(this.#graphs.loss.labels ?? [])]
    const columns = [...data].map(([name, { dtype }]) => [name, dtype])
    const graph = checksumGraph(outputs, [])
    const text = JSON.stringify({ provider, description, batchSize: this.#batchSize, columns, labels, graph, tensors })
    this.#identities.set(stage, text)
    return text
  }

  async #compute(
    { programs, features }: FeatureStage,
    data: Dataset,
    onBatch?: OnFeatures,
    signal?: Signal,
  ): Promise<Dataset> {
    const names = [...programs.graphs.data.keys()]
    const outputs = new Map([...features].filter(([name]) => programs.graphs.data.has(name)))
    const leaves = new Set(leavesOf(outputs.values()))
    const inputs = new Map([...this.#graphs.data].filter(([, value]) => leaves.has(value)))
    const program = await compileGraph(this.#runtime, { name: 'features', inputs, outputs })
    const table = new FeatureTable(data.length, this.#store, this.#files)
    try {
      const all = batches(data, { batchSize: this.#batchSize })
      for await (const { tensors, size, number } of orAborted(all, signal)) {
        const batch = prepareBatch(tensors, this.#graphs.data, this.#graphs.loss.labels)
        const feeds = Object.fromEntries([...inputs.keys()].map((name) => [name, batch[name]!]))
        const computed = { ...batch, ...(await runPadded(program, feeds, size, this.#fixedSize ?? size)) }
        await table.add(
          Object.fromEntries(names.map((name) => [name, computed[name]!])),
          number * this.#batchSize,
          size,
        )
        await onBatch?.({ done: number * this.#batchSize + size, total: data.length })
      }
    } finally {
      await program.release()
    }
    return table.toDataset()
  }
}

/** A tensor as a text: its file and place there, which are not read, or the checksum of its elements. */
function identifyTensor(tensor: Tensor): string {
  const range = fileRangeOf(tensor)
  return range ? JSON.stringify(range) : checksumTensor(tensor)
}

/** Examples along the leading axis in a file. */
interface StoredColumn extends Pick<Tensor, 'dtype' | 'dims'> {
  readonly file: FeatureFile
}

type Column = Tensor | StoredColumn

/** Number of rows that are read at the same time. */
const concurrentReads = 16

async function readRows({ dtype, dims, file }: StoredColumn, indices: ArrayLike<number>): Promise<Tensor> {
  const [, ...example] = dims
  const { array: Elements, bits } = dtypes[dtype]
  const width = (sizeOf(example) * bits) / 8
  const bytes = new Uint8Array(indices.length * width)
  const rows = await mapConcurrently(indices, concurrentReads, (index) => file.read(width, index * width))
  for (const [i, row] of rows.entries()) bytes.set(row, i * width)
  return {
    dtype,
    dims: [indices.length, ...example],
    data: new Elements!(bytes.buffer, 0, indices.length * sizeOf(example)),
  }
}

/** Tensors of all examples of a data set, filled batch by batch. */
class FeatureTable {
  readonly #length: number
  readonly #store: FeatureStore | undefined
  readonly #files: FeatureFile[]
  readonly #columns = new Map<string, Column>()
  #bytes = 0
  /** Tensors without an axis of examples. */
  readonly #constants = new Map<string, Tensor>()

  /** @param files list that the created files are added to */
  constructor(length: number, store: FeatureStore | undefined, files: FeatureFile[]) {
    this.#length = length
    this.#store = store
    this.#files = files
  }

  /** Adds a batch of `size` examples from index `start` on. */
  async add(batch: Tensors, start: number, size: number): Promise<void> {
    for (const [name, tensor] of Object.entries(batch)) {
      if (tensor.dims[0] !== size) this.#addConstant(name, tensor)
      else await this.#addRows(name, tensor, start)
    }
  }

  toDataset(): Dataset {
    const constants = Object.fromEntries(this.#constants)
    const [inMemory, inFiles] = [new Map<string, Tensor>(), new Map<string, StoredColumn>()]
    for (const [name, column] of this.#columns)
      if ('file' in column) inFiles.set(name, column)
      else inMemory.set(name, column)
    const rows: Dataset =
      inMemory.size > 0 ? fromArrays(Object.fromEntries(inMemory)) : { length: this.#length, batch: () => ({}) }
    return transform(rows, async (batch, indices) => {
      const stored = await Promise.all(
        [...inFiles].map(async ([name, column]) => [name, await readRows(column, indices)] as const),
      )
      return { ...batch, ...Object.fromEntries(stored), ...constants }
    })
  }

  async #addRows(name: string, { dtype, dims, data }: Tensor, start: number): Promise<void> {
    const [, ...example] = dims
    let column = this.#columns.get(name)
    if (!column) {
      const shape = { dtype, dims: [this.#length, ...example] }
      const bytes = this.#length * sizeOf(example) * (data as TypedArray).BYTES_PER_ELEMENT
      if (this.#store && this.#bytes + bytes > this.#store.memory) {
        const file = await this.#store.create()
        this.#files.push(file)
        column = { ...shape, file }
      } else {
        column = { ...shape, data: this.#allocate(data as TypedArray, example, name) }
        this.#bytes += bytes
      }
      this.#columns.set(name, column)
    }
    const [, ...before] = column.dims
    if (before.some((dim, axis) => dim !== example[axis]))
      throw new OnnxIreError(
        'invalid-data',
        `features are 'cached', but '${name}' is ${formatShape(before)} in some examples and ${formatShape(example)} in others: pad the examples to one length, or omit the option features`,
      )
    const elements = data as TypedArray
    if ('file' in column)
      await column.file.write(bytesOf(elements), start * sizeOf(example) * elements.BYTES_PER_ELEMENT)
    else (column.data as TypedArray).set(elements as never, start * sizeOf(example))
  }

  #addConstant(name: string, tensor: Tensor): void {
    const before = this.#constants.get(name) ?? tensor
    this.#constants.set(name, before)
    const isEqual =
      before.dims.join() === tensor.dims.join() &&
      (before.data as TypedArray).every((x, i) => Object.is(x, tensor.data[i]))
    if (!isEqual)
      throw new OnnxIreError(
        'invalid-data',
        `features are 'cached', but '${name}' ${formatShape(tensor.dims)} has no axis of examples and differs between batches: omit the option features`,
      )
  }

  #allocate(like: TypedArray, example: readonly number[], name: string): TypedArray {
    const elements = this.#length * sizeOf(example)
    try {
      return new (like.constructor as new (length: number) => TypedArray)(elements)
    } catch (cause) {
      const gigabytes = (elements * like.BYTES_PER_ELEMENT) / 2 ** 30
      throw new OnnxIreError(
        'invalid-option',
        `features are 'cached', but '${name}' of ${this.#length} examples takes ${gigabytes.toFixed(1)} GiB: freeze layers closer to the output, set features to featureFiles(folder), or omit the option`,
        { cause },
      )
    }
  }
}

/** Throws `invalid-data` if a batch of training data depends on random numbers. */
async function checkNotAugmented(data: Dataset, batchSize: number, signal: Signal | undefined): Promise<void> {
  let sampled = false
  const random = new ObservedRandom(new Random(0).state(), () => {
    sampled = true
  })
  const indices = Uint32Array.from({ length: Math.min(batchSize, data.length) }, (_, i) => i)
  const first = async function* () {
    yield data.batch(indices, { random })
  }
  await orAborted(first(), signal).next()
  if (sampled)
    throw new OnnxIreError(
      'invalid-data',
      "features are 'cached', but the training data are augmented at random in every epoch, so their features differ: omit the augmentation (and mixup), or the option features",
    )
}

/** A random generator that reports if it, or one of its streams, is used. */
class ObservedRandom extends Random {
  readonly #onUse: () => void

  constructor(state: RandomState, onUse: () => void) {
    super(state)
    this.#onUse = onUse
  }

  override stream(name: string): Random {
    return new ObservedRandom(super.stream(name).state(), this.#onUse)
  }

  override uniform(): number {
    this.#onUse()
    return super.uniform()
  }

  override integer(n: number): number {
    this.#onUse()
    return super.integer(n)
  }
}
