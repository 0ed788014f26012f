import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { checksumBase } from '../../adapter/read-adapter.js'
import { findRecord } from '../../adapter/record.js'
import { takeColumns } from '../../data/model/model-columns.js'
import { addUsage } from '../../data/model/model-usage.js'
import { decodeSafetensors } from '../../ir/safetensors.js'
import { lowerForWebgpu } from '../../lowering/lower-model.js'
import { RecipeData, resolveHead } from '../../node/data/recipe-data.js'
import { writeModel } from '../../node/files/model.js'
import type { Model } from '../../onnx/model.js'
import { finalWeights, passOptions } from '../../recipe/build.js'
import { createLoss, lossTarget, taskLosses } from '../../recipe/loss.js'
import type { Recipe } from '../../recipe/recipe.js'
import { usageOf } from '../../recipe/usage.js'
import { modelFromCheckpoint, type WeightSelection } from '../../train/checkpoint/model-from-checkpoint.js'
import { evaluateModel } from '../../train/evaluate.js'
import { createStartModel } from '../../train/model/start-model.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { formatCount, formatNumber } from '../format.js'
import { pathsOfTraining, withPathAdvice } from '../inputs/moved-paths.js'
import {
  dataPathOption,
  loadModel,
  modelPathOption,
  modelTitle,
  overridePaths,
  type PathOverrides,
} from '../inputs/read-recipe.js'
import { type Io, print, writeText } from '../io.js'
import { createRuntime, jsonOption, setOption } from '../options.js'
import { listDataFiles, listInitialFiles, prepareOutputs } from '../outputs.js'
import { type ExportForm, exportForms, exportFormsHelp, formFiles, toModelForm, writeForm } from '../stored-adapter.js'
import { RunFolder } from '../training/run-folder.js'
import { recordTunedStep } from '../training/run-record.js'

interface Options extends PathOverrides {
  readonly set: readonly string[]
  readonly output: string
  readonly weights?: WeightSelection
  readonly as?: ExportForm
  readonly for?: 'webgpu'
  readonly columns?: true
  readonly json?: true
}

const weightsText: Readonly<Record<WeightSelection, string>> = {
  last: 'last weights',
  ema: 'moving average of the weights',
  best: 'best weights',
}

/** Defines `onnx-ire export`. */
export function defineExport(program: Command, io: Io): void {
  program
    .command('export')
    .description('write the model of the newest checkpoint of a run, finished or not')
    .argument('<run>', 'a run folder, written by train')
    .requiredOption('-o, --output <path>', 'path of the trained model')
    .addOption(
      new Option(
        '--weights <which>',
        'weights of the last step, their moving average, or the best on the validation data (default: as the recipe of the run sets)',
      ).choices(['last', 'ema', 'best']),
    )
    .addOption(new Option('--as <form>', 'form of a model with an adapter (default: beside)').choices(exportForms))
    .addOption(
      new Option(
        '--for <provider>',
        'write a model for pages that run it on WebGPU without this library, in operators that onnxruntime computes right there',
      ).choices(['webgpu']),
    )
    .option('--columns', 'write a model that takes the columns of the CSV file, and converts them as in training')
    .addOption(modelPathOption())
    .addOption(dataPathOption())
    .addOption(setOption('change a field of the recipe of the run, such as a path'))
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The initial model of the run is read again, from the path in recipe.json of the run folder (start.onnx of the
run folder for a preset), which also holds after the folder was moved; or from --model.

Forms of a run that trained an adapter:${exportFormsHelp}
With q4 and q8 the loss on the validation data is measured before and after.

Examples:
  $ onnx-ire export runs/recipe -o tuned.onnx
  $ onnx-ire export runs/recipe --weights last -o last.onnx
  $ onnx-ire export runs/recipe --for webgpu -o tuned-webgpu.onnx
  $ onnx-ire export runs/houses --columns -o houses.onnx
  $ onnx-ire export runs/lora --as peft -o my-lora
  $ onnx-ire export runs/lora --as q4 -o model_q4.onnx`,
    )
    .action(async (run: string, options: Options) => {
      const folder = new RunFolder(run)
      const recipe = overridePaths(await folder.readRecipe(options.set), options)
      await withPathAdvice(pathsOfTraining(recipe), () => exportRun(io, run, folder, recipe, options))
    })
}

async function exportRun(io: Io, run: string, folder: RunFolder, recipe: Recipe, options: Options): Promise<void> {
  const { output, weights: requested, as: form, for: provider, columns, json } = options
  const started = folder.withStartModel(recipe)
  const initial = await loadModel(started)
  await prepareOutputs({ files: formFiles(form ?? 'beside', output) }, async () => [
    ...(await folder.listFiles()),
    ...listInitialFiles(started, initial),
    ...(started.teacher ? [started.teacher.model] : []),
    ...(await listDataFiles(started)),
  ])
  const { model: original } = await createStartModel(initial, await resolveHead(recipe, initial))
  if (requested !== undefined && requested !== 'last' && !recipe[requested])
    throw new OnnxIreError(
      'invalid-option',
      `--weights ${requested}: the run has no ${requested} weights. Set the field ${requested} of the recipe and train again, or export the last weights with --weights last`,
    )
  const weights = requested ?? finalWeights(recipe)
  const usage = usageOf(started, await folder.readClasses())
  const { model, step, skipped } = await folder.readCheckpoint((bytes) => {
    const tuned = addUsage(modelFromCheckpoint(original, bytes, weights), usage)
    if (weights === 'best') checkEvaluated(decodeSafetensors(bytes).metadata)
    return tuned
  })
  for (const { step, error } of skipped)
    writeText(io.stderr, `skipping the checkpoint of step ${step}: ${error.message}\n`)
  checkForm(options, model, original)
  const measured = form === 'q4' || form === 'q8' ? await writeMeasured(form, output, model, started) : undefined
  if (provider) await writeModel(output, lowerForWebgpu(form === 'merged' ? toModelForm(form, model) : model))
  else if (columns)
    await writeModel(output, takeTableColumns(form === 'merged' ? toModelForm(form, model) : model, started))
  else if (!measured) await writeForm(form ?? 'beside', output, model)
  if (resolve(output) === folder.tuned) await recordTunedStep(folder.path, step)
  print(
    io,
    {
      output,
      run,
      model: modelTitle(started),
      step,
      weights,
      ...(form && { form }),
      ...(provider && { for: provider }),
      ...(measured && { measured }),
    },
    json,
    () => {
      const wrote = `wrote ${output}: ${modelTitle(recipe)} trained in ${run}, ${formatCount(step, 'step')}, ${weightsText[weights]}`
      if (!measured) return form ? `${wrote}, form ${form}` : wrote
      const losses =
        'before' in measured
          ? `loss ${formatNumber(measured.before)} before, ${formatNumber(measured.after)} after`
          : measured.reason
      return `${wrote}, form ${form}: ${losses}`
    },
  )
}

/** Throws `invalid-option` if a trained model cannot be written in the form that the options select. */
function checkForm({ as: form, for: provider, columns }: Options, model: Model, original: Model): void {
  if (form !== undefined && !findRecord(model.proto))
    throw new OnnxIreError('invalid-option', `--as ${form}: the run trained no adapter; leave out --as`)
  if ((form === 'peft' || form === 'onnx-adapter') && checksumBase(model) !== checksumBase(original))
    throw new OnnxIreError(
      'invalid-option',
      `--as ${form}: the run also trained tensors of the model itself, such as a new head, which an adapter cannot hold: export with --as beside or merged`,
    )
  if (provider && form !== undefined && form !== 'merged')
    throw new OnnxIreError('invalid-option', `--for ${provider} applies to a whole model in float: omit --as ${form}`)
  if (columns && (provider || (form !== undefined && form !== 'merged')))
    throw new OnnxIreError(
      'invalid-option',
      `--columns applies to a whole model in float: omit ${provider ? `--for ${provider}` : `--as ${form}`}`,
    )
}

/** The model with the conversion of the columns, and with outputs in the units of the targets that they predict. */
function takeTableColumns(model: Model, { data: { train }, loss }: Recipe): Model {
  if (train.kind !== 'csv' || !train.statistics)
    throw new OnnxIreError(
      'invalid-option',
      `--columns: the data of the run ${train.kind === 'csv' ? 'have no columns with impute, scale, categories or dates' : `are of kind '${train.kind}', not 'csv'`}; omit --columns`,
    )
  const { statistics } = train
  const [only, ...others] = model.proto.graph!.output
  const outputs = taskLosses(loss).flatMap(([, task]) => {
    const target = lossTarget(task)
    const name = (task as { output?: string }).output ?? (others.length === 0 ? only?.name : undefined)
    const scaled = target && !target.isClasses ? Object.values(getOwn(statistics, target.name) ?? {}) : []
    const isScaled = scaled.some(({ divisor }) => divisor !== undefined)
    return isScaled && name !== undefined ? [[name, target!.name] as const] : []
  })
  return takeColumns(model, statistics, { outputs: Object.fromEntries(outputs) })
}

/** Losses on the validation data, or the reason why they were not measured. */
type Measured = { readonly before: number; readonly after: number } | { readonly reason: string }

/** Writes a model with its adapter merged and quantized; measures the loss before and after, on the validation data. */
async function writeMeasured(form: 'q4' | 'q8', output: string, model: Model, recipe: Recipe): Promise<Measured> {
  const quantized = toModelForm(form, model)
  await writeModel(output, quantized)
  const opened = await RecipeData.open(recipe, model)
  const data = await opened.validation()
  if (!data) return { reason: 'the recipe has no validation data, so the loss was not measured' }
  const { batchSize, threads, loss } = opened.recipe
  const runtime = await createRuntime('cpu', threads)
  try {
    const measure = async (each: Model) => {
      const options = {
        loss: createLoss(loss),
        runtime,
        ...passOptions(opened.recipe),
        ...(batchSize === undefined ? {} : { batchSize }),
      }
      return (await evaluateModel(each, data, options)).loss
    }
    return { before: await measure(model), after: await measure(quantized) }
  } finally {
    await runtime.dispose()
  }
}

/**
 * Throws `invalid-option` if the checkpoint was saved before the first evaluation: its best weights are the initial
 * ones.
 */
function checkEvaluated({ progress = '{}' }: Readonly<Record<string, string>>): void {
  const { best } = JSON.parse(progress) as { readonly best?: unknown }
  if (best !== null) return
  throw new OnnxIreError(
    'invalid-option',
    'the run has not been evaluated yet and has no best weights; export the last weights with --weights last',
  )
}
