import { rm, stat } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import type { Measures } from '../../metric/accumulator.js'
import { checkpointFolder } from '../../node/files/checkpoint-folder.js'
import { OnnxIreError } from '../../util/errors.js'
import { refuseOptions, usageError } from '../errors.js'
import { formatCount, formatMetricsLine } from '../format.js'
import { Interrupted } from '../interrupts.js'
import { type Io, print, writeText } from '../io.js'
import { jsonOption, parseNonNegativeInteger, parsePositiveInteger, parseThreads, providerOption } from '../options.js'
import { createTrainingProgress, type TrainingProgress } from '../progress.js'
import type { TuningPlan } from './plan.js'
import type { TrackingOptions } from './train-resumably.js'
import { checkTuningRecord, writeTuningRecord } from './tuning-record.js'

/** Options of every `tune` command besides those of its task. */
export interface TuneOptions extends TrackingOptions {
  /** Folder of the results; a dry run needs none. */
  readonly output?: string
  readonly steps?: number
  readonly ire?: true
  readonly resume?: boolean
  readonly dryRun?: boolean
  readonly force?: boolean
  readonly quiet?: boolean
  readonly json?: true
}

interface Result {
  readonly interrupted: boolean
}

/** The parts of a `tune` command that depend on its task. */
interface TuneCommand<Prepared extends { readonly plan: TuningPlan }, Outcome extends Result> {
  prepare(request: { readonly output: string; readonly resume: boolean }): Promise<Prepared>
  formatPlan(plan: Prepared['plan']): string
  run(prepared: Prepared, io: Io, progress: TrainingProgress): Promise<Outcome>
  formatResult(result: Outcome): string
}

/** The option --output. @param contents what the folder will contain */
export const outputOption = (contents: string): Option =>
  new Option('-o, --output <folder>', `folder for the ${contents}; not needed with --dry-run`)

/** Adds the options of every `tune` command besides those of its task. */
export const addTuneOptions = (command: Command): Command =>
  command
    .option(
      '--tensorboard <folder>',
      'folder for an event file of TensorBoard: all numbers, histograms of the trained tensors, plan',
    )
    .option(
      '--measure-every <steps>',
      "steps between two measures of gradient norm, update ratio and IRE's mask of every trained tensor, for --tensorboard; such a step copies the trained parameters (default: none)",
      parsePositiveInteger,
    )
    .option('--seed <n>', 'seed of all random numbers', parseNonNegativeInteger, 0)
    .option('--threads <n>', 'threads per operator', parseThreads)
    .addOption(providerOption())
    .option('--dry-run', 'show the plan and end')
    .option('--resume', 'continue an interrupted run from its last checkpoint, with the result of an uninterrupted one')
    .option('--force', 'replace the results in the folder')
    .option('--quiet', 'show no progress')
    .addOption(jsonOption())

/** Prints the plan of a fine-tuning, and carries it out unless it is a dry run. */
export async function runTuneCommand<Prepared extends { readonly plan: TuningPlan }, Outcome extends Result>(
  command: Command,
  io: Io,
  { output, steps, ire, dryRun, force = false, quiet = false, json, resume = false, tensorboard }: TuneOptions,
  { prepare, formatPlan, run, formatResult }: TuneCommand<Prepared, Outcome>,
): Promise<void> {
  if (resume && force)
    return usageError(command, '--resume continues the run in the folder, --force replaces it: give one of them')
  if (output === undefined && (!dryRun || resume))
    return usageError(command, "required option '-o, --output <folder>' not specified")
  if (tensorboard === undefined)
    refuseOptions(command, ['measureEvery'], 'writes its measures for TensorBoard: add --tensorboard <folder>')
  if (steps !== undefined)
    refuseOptions(
      command,
      ['epochs'],
      'is the length of the run in passes, and --steps that in steps: give one of them',
    )
  if (!ire) refuseOptions(command, ['kappa', 'gamma'], 'is a setting of IRE: add --ire')
  const prepared = await prepare({ output: output ?? '<output>', resume })
  const plan: Prepared['plan'] = prepared.plan
  if (resume) await checkTuningRecord(command, plan.checkpoints)
  else if (!(force && dryRun)) await clearOutputs(plan, force)
  if (dryRun)
    return print(io, { plan }, json, () =>
      [formatPlan(plan), ...plan.warnings.map((each) => `warning: ${each}`)].join('\n'),
    )
  if (!quiet) writeText(io.stderr, `${formatPlan(plan)}\n`)
  for (const warning of plan.warnings) writeText(io.stderr, `warning: ${warning}\n`)
  if (!resume) await writeTuningRecord(command, plan.checkpoints)
  const result = await run(prepared, io, createTrainingProgress(io.stderr, quiet, 'loss'))
  print(io, result, json, () => formatResult(result))
  if (result.interrupted) throw new Interrupted()
}

/**
 * Throws `io` if a file or folder exists in the place of an output, or checkpoints of a run. With `force`, removes the
 * checkpoints of the run that is replaced.
 */
async function clearOutputs({ outputs, checkpoints }: TuningPlan, force: boolean): Promise<void> {
  if (force) return rm(checkpoints, { recursive: true, force: true })
  const isSaved = (await checkpointFolder(checkpoints).steps()).length > 0
  for (const path of [...outputs, checkpoints])
    if (path === checkpoints ? isSaved : await stat(path).catch(() => null))
      throw new OnnxIreError(
        'io',
        `${path} exists: continue an interrupted run with --resume, choose another folder with -o, or replace it with --force`,
      )
}

/** Fields of the results of all tasks. */
interface TuningResult extends Result {
  readonly plan: TuningPlan
  readonly step: number
  readonly before: Measures | null
  readonly after: Measures | null
}

/**
 * A result as text.
 * @param saved what an interrupted run has written besides its checkpoint, as a part of the sentence
 */
export function formatTuningResult({ plan, step, interrupted, before, after }: TuningResult, saved = ''): string {
  if (interrupted)
    return step === 0
      ? 'interrupted before the first step; start again with the same command'
      : `interrupted after ${formatCount(step, 'step')}, saved in ${plan.checkpoints}; ${saved}continue with the same command and --resume`
  return [
    ...(before && after
      ? [`held out before: ${formatMetricsLine(before)}`, `held out after:  ${formatMetricsLine(after)}`]
      : []),
    `${formatCount(step, 'step')} done; wrote ${plan.outputs.join(' and ')}`,
  ].join('\n')
}
