import type { Command } from 'commander'
import { collected, seconds } from './arguments.js'
import { interrupted } from './interrupts.js'
import { print } from './output.js'

interface Options {
  readonly set: readonly string[]
  readonly out?: string
  readonly resume?: true
  readonly force?: true
  readonly checkpointEvery: number
  readonly schema?: true
  readonly quiet?: true
  readonly json?: true
}

export function defineTrain(program: Command): void {
  const command = program
    .command('train')
    .description('fine-tune a model as a recipe says')
    .argument('[recipe]', 'a recipe: one JSON file; paths in it are relative to it')
    .option('--set <path=value>', 'change a field of the recipe, null removes it; may be repeated', collected, [])
    .option('--out <folder>', "the run folder (default: the recipe's output, else runs/<recipe> beside it)")
    .option('--resume', "go on from the run folder's checkpoint, as if the run had never stopped")
    .option('--force', 'replace the run that is in the run folder')
    .option('--checkpoint-every <seconds>', 'how often to save within an epoch', seconds, 60)
    .option('--schema', 'print the JSON Schema of recipes and stop')
    .option('--quiet', 'no progress')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
The run folder gets recipe.json, metrics.jsonl (a line per step and epoch), checkpoint.safetensors (after every epoch,
and on Ctrl-C, which finishes the step and saves) and in the end tuned.onnx.

Examples:
  $ onnx-ire train recipe.json
  $ onnx-ire train recipe.json --set optimizer.ire.kappa=3 --set epochs=5 --out runs/kappa-3
  $ onnx-ire train recipe.json --set optimizer.ire=null --out runs/base
  $ onnx-ire train recipe.json --resume

A recipe:
  {
    "model": "model.onnx",
    "data": {
      "train": { "kind": "idx", "images": "train-images", "labels": "train-labels", "image": { "size": 48, "channels": 3 } },
      "validation": { "kind": "idx", "images": "test-images", "labels": "test-labels", "image": { "size": 48, "channels": 3 } }
    },
    "head": { "classes": 10 },
    "loss": { "kind": "cross-entropy" },
    "optimizer": { "kind": "adamw", "lr": 0.001, "ire": { "kappa": 2, "gamma": 0.8, "interval": 10 } },
    "schedule": { "kind": "cosine", "warmup": 20 },
    "batchSize": 32, "epochs": 3, "seed": 0
  }`,
    )
    .action(async (path: string | undefined, options: Options) => {
      if (options.schema) {
        const { recipeSchema } = await import('../recipe/schema.js')
        return print({ $schema: 'http://json-schema.org/draft-07/schema#', ...recipeSchema }, true, () => '')
      }
      if (path === undefined) return command.error("error: missing required argument 'recipe'", { exitCode: 2 })
      if (options.resume && options.force) {
        return command.error('error: --resume goes on with a run, --force starts over: give one of them', {
          exitCode: 2,
        })
      }
      await train(path, options)
    })
}

async function train(path: string, options: Options): Promise<void> {
  const [{ carryOut }, { defaultRunFolder, readRecipe }, { RunFolder }, { progressOn }, { trainingText }] =
    await Promise.all([
      import('./training.js'),
      import('./recipe-file.js'),
      import('./run-folder.js'),
      import('./progress.js'),
      import('./training-text.js'),
    ])
  const recipe = await readRecipe(path, options.set)
  const result = await carryOut({
    recipe,
    folder: new RunFolder(options.out ?? recipe.output ?? defaultRunFolder(path)),
    progress: progressOn(process.stderr, options.quiet ?? false),
    resume: options.resume ?? false,
    force: options.force ?? false,
    checkpointSeconds: options.checkpointEvery,
  })
  print(result, options.json, () => trainingText(result))
  if (result.interrupted) process.exitCode = interrupted
}
