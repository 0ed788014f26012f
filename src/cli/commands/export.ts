import { type Command, Option } from 'commander'
import { decodeSafetensors } from '../../ir/safetensors.js'
import { writeModel } from '../../node/files/model.js'
import { finalWeights } from '../../recipe/build.js'
import { modelFromCheckpoint, type WhichWeights } from '../../train/checkpoint/model-from-checkpoint.js'
import { createStartModel } from '../../train/model/start-model.js'
import { OnnxIreError } from '../../util/errors.js'
import { loadModel, modelTitle } from '../inputs/read-recipe.js'
import { type Io, print, writeText } from '../io.js'
import { jsonOption } from '../options.js'
import { listInitialFiles, prepareOutputs } from '../outputs.js'
import { formatCount } from '../text/format.js'
import { RunFolder } from '../training/run-folder.js'

interface Options {
  readonly output: string
  readonly weights?: WhichWeights
  readonly json?: true
}

const weightsText: Readonly<Record<WhichWeights, string>> = {
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
    .requiredOption('-o, --output <file>', 'path of the trained model')
    .addOption(
      new Option(
        '--weights <which>',
        'weights of the last step, their moving average, or the best on the validation data (default: as the recipe of the run sets)',
      ).choices(['last', 'ema', 'best']),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The initial model of the run is read again, from the path in recipe.json of the run folder (start.onnx of the run folder for a
preset).

Examples:
  $ onnx-ire export runs/recipe -o tuned.onnx
  $ onnx-ire export runs/recipe --weights last -o last.onnx`,
    )
    .action(async (run: string, { output, weights: requested, json }: Options) => {
      const folder = new RunFolder(run)
      const recipe = await folder.readRecipe()
      const started = folder.withStartModel(recipe)
      const initial = await loadModel(started)
      await prepareOutputs({ files: [output] }, async () => [
        ...(await folder.listFiles()),
        ...listInitialFiles(started, initial),
      ])
      const original = createStartModel(initial, recipe).model
      const weights = requested ?? finalWeights(recipe)
      const { model, step, skipped } = await folder.readCheckpoint((bytes) => {
        const tuned = modelFromCheckpoint(original, bytes, weights)
        if (weights === 'best') checkEvaluated(decodeSafetensors(bytes).metadata)
        return tuned
      })
      for (const { step, error } of skipped)
        writeText(io.stderr, `skipping the checkpoint of step ${step}: ${error.message}\n`)
      await writeModel(output, model)
      print(
        io,
        { output, run, model: modelTitle(started), step, weights },
        json,
        () =>
          `wrote ${output}: ${modelTitle(recipe)} trained in ${run}, ${formatCount(step, 'step')}, ${weightsText[weights]}`,
      )
    })
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
