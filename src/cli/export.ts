import { type Command, Option } from 'commander'
import type { Weights } from '../train/tuned.js'
import { plural, print } from './output.js'

interface Options {
  readonly output: string
  readonly weights: Weights
  readonly json?: true
}

export function defineExport(program: Command): void {
  program
    .command('export')
    .description("write the model of a run's checkpoint, finished or not")
    .argument('<run>', 'a run folder, as train writes it')
    .requiredOption('-o, --output <file>', 'where to write the trained model')
    .addOption(
      new Option('--weights <which>', 'of the last step, their moving average, or the best on the validation data')
        .choices(['last', 'ema', 'best'])
        .default('last'),
    )
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
The model the run started from is read again, so it must still be where the run's recipe.json says.

Examples:
  $ onnx-ire export runs/recipe -o tuned.onnx`,
    )
    .action(async (run: string, { output, weights, json }: Options) => {
      const [{ readModel, writeModel }, { replaceHead }, { tunedModel }, { RunFolder }, { refuseOverwriting }] =
        await Promise.all([
          import('../node/model.js'),
          import('../train/head.js'),
          import('../train/tuned.js'),
          import('./run-folder.js'),
          import('./overwriting.js'),
        ])
      const folder = new RunFolder(run)
      const recipe = await folder.recipe()
      const read = await readModel(recipe.model)
      await refuseOverwriting(recipe.model, output)
      const original = recipe.head ? replaceHead(read, recipe.head) : read
      const { model, step } = await folder.checkpoint((bytes) => tunedModel(original, bytes, weights))
      await writeModel(output, model)
      print(
        { output, run, model: recipe.model, step, weights },
        json,
        () => `wrote ${output}: ${recipe.model} as trained in ${run}, ${plural(step, 'step')}`,
      )
    })
}
