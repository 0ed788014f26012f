import { type Command, Option } from 'commander'
import { writeModel } from '../../node/model.js'
import { weightsOf } from '../../recipe/build.js'
import { modelFromCheckpoint, type WhichWeights } from '../../train/checkpoint/model-from-checkpoint.js'
import { decodeSafetensors } from '../../train/checkpoint/safetensors.js'
import { replaceHead } from '../../train/model/replace-head.js'
import { OnnxIreError } from '../../util/errors.js'
import { checkNotOverwriting } from '../errors.js'
import { loadModel, modelTitle } from '../inputs/load-model.js'
import { type Io, print } from '../io.js'
import { formatCount } from '../text/format.js'
import { RunFolder } from '../training/run-folder.js'

interface Options {
  readonly output: string
  readonly weights?: WhichWeights
  readonly json?: true
}

const described: Readonly<Record<WhichWeights, string>> = {
  last: 'its last weights',
  ema: 'the moving average of its weights',
  best: 'the best of its weights',
}

export function defineExport(program: Command, io: Io): void {
  program
    .command('export')
    .description("write the model of a run's checkpoint, finished or not")
    .argument('<run>', 'a run folder, as train writes it')
    .requiredOption('-o, --output <file>', 'where to write the trained model')
    .addOption(
      new Option(
        '--weights <which>',
        "of the last step, their moving average, or the best on the validation data (default: as the run's recipe says)",
      ).choices(['last', 'ema', 'best']),
    )
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
The model the run started from is read again, so it must still be where the run's recipe.json says (the model of a preset is
in the run folder).

Examples:
  $ onnx-ire export runs/recipe -o tuned.onnx
  $ onnx-ire export runs/recipe --weights last -o last.onnx`,
    )
    .action(async (run: string, { output, weights: wanted, json }: Options) => {
      const folder = new RunFolder(run)
      const recipe = await folder.recipe()
      const start = folder.started(recipe)
      const read = await loadModel(start)
      if (typeof start.model === 'string') await checkNotOverwriting(start.model, output)
      const original = recipe.head ? replaceHead(read, recipe.head) : read
      const weights = wanted ?? weightsOf(recipe)
      const { model, step, skipped } = await folder.checkpoint((bytes) => {
        const tuned = modelFromCheckpoint(original, bytes, weights)
        if (weights === 'best') refuseUnjudged(decodeSafetensors(bytes).metadata)
        return tuned
      })
      for (const { step, error } of skipped)
        io.stderr.write(`passing over the checkpoint of step ${step}: ${error.message}\n`)
      await writeModel(output, model)
      print(
        io,
        { output, run, model: modelTitle(start), step, weights },
        json,
        () =>
          `wrote ${output}: ${modelTitle(recipe)} as trained in ${run}, ${formatCount(step, 'step')}, ${described[weights]}`,
      )
    })
}

/** Before the first evaluation, the best weights are those the run began with. */
function refuseUnjudged({ progress = '{}' }: Readonly<Record<string, string>>): void {
  const { best } = JSON.parse(progress) as { readonly best?: unknown }
  if (best !== null) return
  throw new OnnxIreError(
    'invalid-option',
    'nothing has been evaluated yet, so no weights are the best; take those of the last step: --weights last',
  )
}
