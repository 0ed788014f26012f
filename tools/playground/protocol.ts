/** Messages between the page and its training worker, sent by structured cloning. */

/** Conversion of pixels to the model input. */
export interface Form {
  readonly kind: 'image' | 'table'
  /** Rows and columns of images. */
  readonly size: number
  readonly channels: number
  readonly layout: 'NCHW' | 'NHWC'
  readonly normalization: Normalization
  /** Number of table columns; null if the model accepts any number. */
  readonly columns: number | null
  /** Whether the model declares a variable image size. */
  readonly open: boolean
}

export const normalizations = {
  unit: { title: '0 to 1', mean: 0, std: 1 },
  signed: { title: '-1 to 1', mean: 0.5, std: 0.5 },
  imagenet: { title: 'ImageNet mean and deviation', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
} as const
export type Normalization = keyof typeof normalizations

export interface ModelSummary {
  readonly name: string
  readonly bytes: number
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly layers: readonly LayerSummary[]
  readonly parameters: number
  readonly trainable: number
  /** Number of classes of the output; null if the file does not fix it. */
  readonly classes: number | null
  /** Names of the classes, if the file has them. */
  readonly labels: readonly string[] | null
  /** Name of the task, if the file has it. */
  readonly task: string | null
  readonly form: Form
}

interface LayerSummary {
  readonly name: string
  readonly operators: string
  readonly shape: string
  readonly parameters: number
  readonly trainable: boolean
}

/** Source of the examples. */
export type DataChoice =
  | { readonly kind: 'folder'; readonly files: readonly { readonly path: string; readonly file: File }[] }
  | TableChoice
  | { readonly kind: 'idx'; readonly images: File; readonly labels: File }
  | ShownChoice

/** A CSV file, the column of the class, and the columns to learn from: all others if they are not given. */
export interface TableChoice {
  readonly kind: 'csv'
  readonly file: File
  readonly label: string
  readonly columns?: readonly string[]
}

/** Examples that were drawn, filmed or added as photos. */
export interface ShownChoice {
  readonly kind: 'shown'
  /** Order of the classes. */
  readonly classes: readonly string[]
  readonly examples: readonly ShownExample[]
}

/** An image from the canvas, the camera or a photo. */
export interface ShownExample {
  readonly pixels: ImageData
  readonly label: string
}

export interface DataSummary {
  readonly examples: number
  readonly classes: readonly string[]
  /** Number of examples per class. */
  readonly counts: readonly number[]
  /** Names of files that could not be read. */
  readonly skipped: readonly string[]
  /** Number of rows of a table that are left out, because a value is missing. */
  readonly incomplete?: number
  /** The first pictures of each class, for examples that come from files. */
  readonly pictures?: readonly (readonly ImageData[])[]
  /** Columns of a table that are learned from. */
  readonly columns?: readonly ColumnSummary[]
}

/** The columns and first rows of a CSV file. */
export interface TablePreview {
  readonly columns: readonly { readonly name: string; readonly kind: ColumnKind }[]
  readonly rows: readonly (readonly string[])[]
}

/** Kind of the values of a column, by its first rows. */
export type ColumnKind = 'numbers' | 'texts' | 'incomplete numbers'

/** A column of numbers and their range. */
interface ColumnSummary {
  readonly name: string
  readonly min: number
  readonly max: number
  /** Value of the first row. */
  readonly first: number
}

export interface Settings {
  /** 'auto': the one whose steps take less time, see `chooseProvider`. */
  readonly provider: 'auto' | ProviderName
  /** Trained layers: the last one, on the stored features of the frozen layers before it, or all layers. */
  readonly layers: 'head' | 'all'
  /** A new last layer, or that of the file. Missing in runs that were stored before there was a choice. */
  readonly head?: 'new' | 'kept'
  readonly epochs: number
  readonly batchSize: number
  readonly lr: number
  readonly weightDecay: number
  readonly seed: number
  /** Fraction of the examples for evaluation only. */
  readonly held: number
  readonly kappa: number
  readonly gamma: number
  readonly interval: number
  /** Whether to measure the sharpness after every epoch. */
  readonly flatness: boolean
}

/** The runtimes. */
export const providers = { wasm: 'WebAssembly', webgpu: 'WebGPU' } as const
export type ProviderName = keyof typeof providers

/** The two training runs with the same seed. */
export const contenders = { base: 'AdamW', ire: 'AdamW + IRE' } as const
export type ContenderName = keyof typeof contenders

/** The models that predict: the two contenders, or before training the open model. */
export type Looker = ContenderName | 'untrained'

/** Calls of the worker and their results. */
export interface Calls {
  /** Loads and compiles onnxruntime's WebAssembly, so that the first model opens sooner. */
  warmUp(): Promise<void>
  open(model: File | string): Promise<ModelSummary>
  form(form: Form): Promise<void>
  data(choice: DataChoice): Promise<DataSummary>
  previewTable(file: File): Promise<TablePreview>
  /** Creates a network for a table, which scales its columns itself. */
  createTableModel(choice: TableChoice): Promise<File>
  /**
   * Trains; resolves at the end and reports progress as events. With `resume`, continues the run that was reopened. The
   * run is stored in this browser from its beginning, its weights every few seconds, and its models at its end.
   */
  train(settings: Settings, resume?: boolean): Promise<{ readonly stopped: boolean }>
  pause(paused: boolean): Promise<void>
  stop(): Promise<void>
  /** Stores the weights of the current training run at once, since the page may be closed. */
  keep(): Promise<void>
  /**
   * Stores examples that were shown, with which a later visit can go on; without examples deletes them. Does nothing
   * during training, which stores its data itself.
   */
  keepExamples(choice: ShownChoice): Promise<void>
  /** The newest stored run that is unfinished and that no tab is training; null if there is no such run. */
  unfinished(): Promise<Unfinished | null>
  /** The finished runs stored in this browser, newest first. */
  finished(): Promise<readonly FinishedRun[]>
  /**
   * Opens model and data of a stored run, and the tuned models of a finished one. Rejects if another tab is training it.
   */
  reopen(id: string): Promise<Reopened>
  /** Deletes a stored run. Rejects if another tab is training it. */
  forget(id: string): Promise<void>
  /** A tuned model of a finished run, as a file. */
  tuned(id: string, contender: ContenderName): Promise<Uint8Array>
  /**
   * Class probabilities for an image or a row, of each contender. Before training those of the open model, with a new
   * last layer if it does not have this number of classes.
   */
  look(
    input: ImageData | readonly number[],
    classes: number,
  ): Promise<Readonly<Partial<Record<Looker, readonly number[]>>>>
  /** Exports the tuned model as a file. */
  exported(contender: ContenderName): Promise<Uint8Array>
  /** Writes something to take away from the last run: code, its project, or a page that runs its tuned model. */
  takeAway(what: TakeAway, contender: ContenderName): Promise<TakenFile>
  /** Opens the model, the data and the tuned models of a project file. */
  openProject(file: File): Promise<Reopened>
}

/** Forms in which a run can be taken away, and their names. */
export const takeAways = {
  web: 'JavaScript for a page',
  node: 'JavaScript for Node',
  python: 'Python',
  recipe: 'Recipe of onnx-ire',
  program: 'TypeScript program that trains',
  demo: 'Page that runs the model',
  project: 'Project',
} as const
export type TakeAway = keyof typeof takeAways

/** A file to take away. */
export interface TakenFile {
  readonly name: string
  readonly content: Blob
}

/** A stored training run that no tab is training. */
export interface Unfinished {
  readonly id: string
  /** File name of its model. */
  readonly model: string
  /** Whether its training has begun; otherwise it consists of model and examples. */
  readonly isBegun: boolean
}

/** A finished training run, stored with its tuned models. */
export interface FinishedRun {
  readonly id: string
  /** File name of the model that it started from. */
  readonly model: string
  readonly classes: readonly string[]
  /** Time of its end, in milliseconds. */
  readonly at: number
  readonly results: Readonly<Partial<Record<ContenderName, ContenderResult>>>
}

/** Result of a contender after its last epoch. */
export interface ContenderResult {
  readonly heldLoss: number
  readonly heldAccuracy: number
}

/** Initial state of a stored training run. */
export interface Reopened {
  readonly model: ModelSummary
  readonly choice: DataChoice
  /** The data and the settings of its training; null if only examples were stored. */
  readonly training: {
    readonly data: DataSummary
    readonly settings: Settings
    readonly history: readonly ProgressEvent[]
  } | null
}

export interface StepEvent {
  readonly kind: 'step'
  readonly contender: ContenderName
  readonly step: number
  readonly steps: number
  /** Mean since the last event. */
  readonly loss: number
}

export interface RoundEvent {
  readonly kind: 'round'
  readonly contender: ContenderName
  readonly step: number
  readonly epoch: number
  readonly loss: number
  readonly accuracy: number
  readonly heldLoss: number
  readonly heldAccuracy: number
  /** Rise of the loss within a ball of radius 0.05 around the weights; null if not measured. */
  readonly sharpness: number | null
}

/** Progress of the pass that stores the features of the frozen layers, for both contenders. */
interface FeaturesEvent {
  readonly kind: 'features'
  readonly done: number
  readonly total: number
}

/** Progress of reading image files. */
interface ReadingEvent {
  readonly kind: 'reading'
  readonly done: number
  readonly total: number
}

/** A step is timed on a runtime, to choose one. */
interface TimingEvent {
  readonly kind: 'timing'
  readonly provider: ProviderName
}

/** The runtime, reported once at the start of training. */
interface RuntimeEvent {
  readonly kind: 'runtime'
  readonly provider: ProviderName
  readonly description: string
  /** The reason for its choice; null if a person chose it. */
  readonly reason: string | null
  /** The reason why WebGPU does not run although it was requested. */
  readonly fallback: string | null
}

/** A lost device was replaced; training continues from this step. */
interface LostEvent {
  readonly kind: 'lost'
  readonly contender: ContenderName
  readonly step: number
}

/** Events that the curves of a run are drawn from. */
export type ProgressEvent = StepEvent | RoundEvent

export type WorkerEvent = FeaturesEvent | ReadingEvent | StepEvent | RoundEvent | TimingEvent | RuntimeEvent | LostEvent

/** A training run begins. */
interface BegunEvent {
  readonly kind: 'begun'
}

/** The current training run was stored, or could not be stored for this reason. */
interface KeptEvent {
  readonly kind: 'kept'
  readonly reason: string | null
}

/** A training run has ended. */
export interface EndedEvent {
  readonly kind: 'ended'
  /** Id of the run, if it has tuned models, which `exported` returns. */
  readonly run: string | null
  /** The reason why the models are not stored in this browser; null if they are, or if there are none. */
  readonly reason: string | null
}

/** Events that decide whether leaving the page loses work. */
export type KeepingEvent = BegunEvent | KeptEvent | EndedEvent

export interface Request {
  readonly id: number
  readonly call: keyof Calls
  readonly args: readonly unknown[]
}

export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string } }
  | WorkerEvent
  | KeepingEvent
