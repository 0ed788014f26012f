import type { Measures } from '../../metric/accumulator.js'
import type { ClassNames } from '../../node/data/data-source.js'
import type { Recipe } from '../../recipe/recipe.js'
import type { WeightSelection } from '../../train/checkpoint/model-from-checkpoint.js'
import type { IntervalMetrics } from '../../train/options.js'
import type { ProcessGroup } from '../../train/process-group.js'
import type { Io } from '../io.js'
import type { CliProvider } from '../options.js'
import type { TrainingProgress } from '../progress.js'
import type { MemoryRoom } from './check-room.js'
import type { RunFolder } from './run-folder.js'
import type { RunSummary } from './run-summary.js'

/** A training run to carry out. */
export interface TrainingRequest {
  /** Signals that interrupt the run. */
  readonly io: Pick<Io, 'onSignal' | 'exit'>
  readonly recipe: Recipe
  readonly folder: RunFolder
  readonly progress: TrainingProgress
  /** Resume from the newest checkpoint in the folder. */
  readonly resume: boolean
  /** Replace the run in the folder. */
  readonly force: boolean
  readonly provider: CliProvider
  /** Seconds between two checkpoints; undefined for the setting of the recipe. */
  readonly checkpointSeconds: number | undefined
  /** Bytes that the run may take; undefined for what is left of the container or the machine. */
  readonly memory: number | undefined
  /** Steps between two measurements of the trained tensors; undefined for none. */
  readonly measureEvery?: number | undefined
  /** Folder of an event file of TensorBoard; undefined for none. */
  readonly tensorboard?: string | undefined
  /**
   * Share of the run after which it ends as if interrupted, at the first evaluation from there. Default: the whole run.
   */
  readonly share?: number
  /** The processes of an MPI job, of which this is the first; the others call `followTraining`. */
  readonly group?: ProcessGroup | undefined
  /** Whether the optimizer's state is divided among these processes. */
  readonly shardOptimizer?: boolean
}

/** Result of a training run, printed with --json. */
export interface TrainingResult extends RunSummary {
  /** The run folder. */
  readonly run: string
  /** Path of the trained model; null if the run was interrupted. */
  readonly model: string | null
  /** Weights in the exported model. */
  readonly weights: WeightSelection
  readonly interrupted: boolean
  /** Steps since the beginning of the run, resumed parts included. */
  readonly step: number
  /** Number of trained parameters. */
  readonly parameters: number
  /** Metrics of the trained model on the validation data; null without such data, or if the run was interrupted. */
  readonly validation: Measures | null
  /** Class names of the labels, by tensor. */
  readonly classes: ClassNames
  /** Evaluations of this call. */
  readonly epochs: readonly IntervalMetrics[]
  readonly runtime: string
  /** Estimated memory of the run, and the memory that it may take; null on other devices than the CPU. */
  readonly memory: MemoryRoom | null
  /** Warnings before the first step, and of a loss that rises when IRE begins. */
  readonly warnings: readonly string[]
}
