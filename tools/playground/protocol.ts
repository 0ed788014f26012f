/** What the page and its training worker say to each other. Everything travels by structured cloning. */

/** How pixels become the model's input. */
export interface Form {
  readonly kind: 'image' | 'table'
  /** Rows and columns of images. */
  readonly size: number
  readonly channels: number
  readonly layout: 'NCHW' | 'NHWC'
  readonly normalisation: Normalisation
  /** Columns of tables; null where the model takes any number. */
  readonly columns: number | null
  /** Whether the file leaves the size of images open. */
  readonly open: boolean
}

export const normalisations = {
  unit: { title: '0 to 1', mean: 0, std: 1 },
  signed: { title: '-1 to 1', mean: 0.5, std: 0.5 },
  imagenet: { title: 'ImageNet mean and deviation', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
} as const
export type Normalisation = keyof typeof normalisations

export interface ModelSummary {
  readonly name: string
  readonly bytes: number
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly layers: readonly LayerSummary[]
  readonly parameters: number
  readonly trainable: number
  /** Classes its output counts; null where the file does not say. */
  readonly classes: number | null
  readonly form: Form
}

export interface LayerSummary {
  readonly name: string
  readonly operators: string
  readonly shape: string
  readonly parameters: number
  readonly trainable: boolean
}

/** Where examples come from. */
export type DataChoice =
  | { readonly kind: 'folder'; readonly files: readonly { readonly path: string; readonly file: File }[] }
  | { readonly kind: 'csv'; readonly file: File; readonly label: string }
  | { readonly kind: 'idx'; readonly images: File; readonly labels: File }
  | { readonly kind: 'shown'; readonly examples: readonly ShownExample[] }

/** A picture that was drawn or filmed here. */
export interface ShownExample {
  readonly pixels: ImageData
  readonly label: string
}

export interface DataSummary {
  readonly examples: number
  readonly classes: readonly string[]
  /** Examples of each class. */
  readonly counts: readonly number[]
}

export interface Settings {
  readonly provider: 'webgpu' | 'wasm'
  readonly epochs: number
  readonly batchSize: number
  readonly lr: number
  readonly weightDecay: number
  readonly seed: number
  /** Share of the examples that is only measured. */
  readonly held: number
  readonly kappa: number
  readonly gamma: number
  readonly interval: number
  /** Whether the sharpness is measured after every epoch. */
  readonly flatness: boolean
}

/** The two runs from one seed. */
export const contenders = { base: 'AdamW', ire: 'AdamW + IRE' } as const
export type Contender = keyof typeof contenders

/** What can be asked of the worker, and what it answers. */
export interface Calls {
  open(model: File | string): Promise<ModelSummary>
  form(form: Form): Promise<void>
  data(choice: DataChoice): Promise<DataSummary>
  columns(file: File): Promise<readonly string[]>
  /** Resolves when training has ended; what happens meanwhile is told by events. With `resume`, from what was kept. */
  train(settings: Settings, resume?: boolean): Promise<{ readonly stopped: boolean }>
  pause(paused: boolean): Promise<void>
  stop(): Promise<void>
  /** Keeps the training that is going on in this browser, until it is over or forgotten: the page may be about to go. */
  keep(): Promise<void>
  /** The name of the model whose training was kept and not over; null where there is none. */
  unfinished(): Promise<string | null>
  /** Opens what was kept again, model and data. */
  reopen(): Promise<Reopened>
  forget(): Promise<void>
  /** Shares of the classes that each contender sees in a picture; nothing before there are any. */
  look(pixels: ImageData): Promise<Readonly<Partial<Record<Contender, readonly number[]>>>>
  /** The tuned model as a file. */
  exported(contender: Contender): Promise<Uint8Array>
}

/** What a kept training began with. */
export interface Reopened {
  readonly model: ModelSummary
  readonly data: DataSummary
  readonly settings: Settings
}

export interface StepEvent {
  readonly kind: 'step'
  readonly contender: Contender
  readonly step: number
  readonly steps: number
  /** The mean since the last event. */
  readonly loss: number
}

export interface RoundEvent {
  readonly kind: 'round'
  readonly contender: Contender
  readonly step: number
  readonly epoch: number
  readonly loss: number
  readonly accuracy: number
  readonly heldLoss: number
  readonly heldAccuracy: number
  /** How far the loss rises within a ball of radius 0.05 around the weights; null where it is not measured. */
  readonly sharpness: number | null
}

/** What runs, said once when training starts. */
export interface RuntimeEvent {
  readonly kind: 'runtime'
  readonly description: string
  /** Why WebGPU does not run though it was asked for. */
  readonly fallback: string | null
}

/** A lost device was replaced: training goes on from this step. */
export interface LostEvent {
  readonly kind: 'lost'
  readonly contender: Contender
  readonly step: number
}

export type WorkerEvent = StepEvent | RoundEvent | RuntimeEvent | LostEvent

export interface Request {
  readonly id: number
  readonly call: keyof Calls
  readonly args: readonly unknown[]
}

export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string } }
  | WorkerEvent
