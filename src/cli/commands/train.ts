import type { Command } from 'commander'
import type { Recipe } from '../../recipe/recipe.js'
import { recipeSchema } from '../../recipe/schema.js'
import { defaultRunFolder, readRecipe, recipeNames, shippedRecipe } from '../inputs/read-recipe.js'
import { Interrupted } from '../interrupts.js'
import { type Io, print } from '../io.js'
import { type CliProvider, collect, parsePositiveNumber, providerOption } from '../options.js'
import { progressOn } from '../progress.js'
import { formatTable } from '../text/format.js'
import { formatTrainingResult } from '../text/training.js'
import { RunFolder } from '../training/run-folder.js'
import { runTraining } from '../training/run-training.js'

interface Options {
  readonly set: readonly string[]
  readonly out?: string
  readonly resume?: true
  readonly force?: true
  readonly provider: CliProvider
  readonly checkpointEvery?: number
  readonly list?: true
  readonly schema?: true
  readonly quiet?: true
  readonly json?: true
}

export function defineTrain(program: Command, io: Io): void {
  const command = program
    .command('train')
    .description('train a model as a recipe says')
    .argument(
      '[recipe]',
      'a recipe: one JSON file, paths in it relative to it; or a name that --list gives, paths relative to this folder',
    )
    .option('--set <path=value>', 'change a field of the recipe, null removes it; may be repeated', collect, [])
    .option('--out <folder>', "the run folder (default: the recipe's output, else runs/<recipe> beside it)")
    .option('--resume', "go on from the run folder's checkpoint, as if the run had never stopped")
    .option('--force', 'replace the run that is in the run folder')
    .option(
      '--checkpoint-every <seconds>',
      "how often to save within an epoch (default: as the recipe's checkpoints say, else 60)",
      parsePositiveNumber,
    )
    .addOption(providerOption())
    .option('--list', 'name the recipes that come with onnx-ire and stop')
    .option('--schema', 'print the JSON Schema of recipes and stop')
    .option('--quiet', 'no progress')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
The run folder gets recipe.json, start.onnx (the model, where it was made of a preset), classes.json (the names of classes, where
the data have some), metrics.jsonl (a line per step and evaluation), checkpoints/ (after every epoch, every minute or as the
recipe says, and on Ctrl-C, which finishes the step and saves) and in the end tuned.onnx. A checkpoint that was damaged is passed
over for the one before.

Examples:
  $ onnx-ire train recipe.json
  $ onnx-ire train recipe.json --set optimizer.ire.kappa=3 --set epochs=5 --out runs/kappa-3
  $ onnx-ire train recipe.json --set optimizer.ire=null --out runs/base
  $ onnx-ire train recipe.json --resume
  $ onnx-ire train cifar10-resnet-56-sgd-ire --set seed=1 --out runs/seed-1
  $ onnx-ire train --schema > recipe.schema.json

A recipe:
  {
    "model": "model.onnx",
    "data": {
      "train": { "kind": "idx", "images": "train-images", "labels": "train-labels", "image": { "size": 48, "channels": 3 } },
      "split": { "validation": 0.1 }
    },
    "head": { "classes": 10 },
    "loss": { "kind": "cross-entropy" },
    "metrics": ["accuracy", "perClass", "confusion"],
    "optimizer": { "kind": "adamw", "lr": 0.001, "ire": { "kappa": 2, "gamma": 0.8, "interval": 10 } },
    "schedule": { "kind": "cosine", "warmup": 20 },
    "batchSize": 32, "epochs": 3, "best": true, "seed": 0
  }

A model from scratch takes the place of the path: "model": { "preset": "resnet-20", "options": { "classes": 100 } }, and goes
with "batchNorm": "trained" where it has such norms, "dropout": "on" where it drops.

Other sources of data (all take start and end; csv, jsonl and text also "stream": true, for files larger than memory):
  { "kind": "image-folder", "folder": "flowers/train", "image": { "size": 224, "mean": [0.485, 0.456, 0.406] } }
  { "kind": "csv", "file": "iris.csv", "tensors": { "x": "*", "labels": { "columns": "species", "as": "class" } } }
  { "kind": "jsonl", "file": "reviews.jsonl", "padding": { "input_ids": { "mask": "attention_mask" } },
    "tensors": { "input_ids": { "field": "tokens", "as": "integer" }, "labels": { "field": "mood", "as": "class" } } }
  { "kind": "text", "files": "book.txt", "tokens": "bytes", "context": 128 }
  { "kind": "tokens", "file": "corpus/train.tokens", "context": 256 } (as data prepare text makes them)
  { "kind": "cifar-10", "folder": "cifar-10-batches-bin", "part": "train", "augment": [{ "kind": "crop" }, { "kind": "flip" }] }
Images (idx, image-folder, cifar-10, cifar-100) are augmented in training: crop, flip, cutout, resized-crop, rand-augment.

Losses: cross-entropy (classWeights: a list, or "balanced"), binary-cross-entropy, l1, huber, kl, mse, and several at once:
  { "kind": "combine", "tasks": { "kind": { "loss": { "kind": "cross-entropy", "logits": "a", "labels": "a_labels" } },
                                  "size": { "loss": { "kind": "huber", "output": "b", "targets": "sizes" }, "weight": 0.1 } } }

Further fields: about, groups, decayVectors, layerDecay, trainable, batchNorm, clipNorm, clipValue, microBatch, ema, earlyStopping,
evaluateEvery, checkpoints, mixup, weights; --schema says what each takes.`,
    )
    .action(async (path: string | undefined, options: Options) => {
      if (options.schema) {
        return print(io, { $schema: 'http://json-schema.org/draft-07/schema#', ...recipeSchema }, true, () => '')
      }
      if (options.list) return listed(io, options.json)
      if (path === undefined) return command.error("error: missing required argument 'recipe'", { exitCode: 2 })
      if (options.resume && options.force) {
        return command.error('error: --resume goes on with a run, --force starts over: give one of them', {
          exitCode: 2,
        })
      }
      await train(io, path, options)
    })
}

async function listed(io: Io, json: true | undefined): Promise<void> {
  const recipes = await Promise.all(
    (await recipeNames()).map(async (name) => ({ name, about: (await shippedRecipe(name)).about ?? '' })),
  )
  print(io, { recipes }, json, () =>
    formatTable(
      ['recipe', ''],
      recipes.map(({ name, about }) => [name, about]),
    ),
  )
}

async function train(io: Io, path: string, options: Options): Promise<void> {
  const recipe = await readRecipe(path, options.set)
  const result = await runTraining({
    io,
    recipe,
    folder: new RunFolder(options.out ?? recipe.output ?? defaultRunFolder(path), recipe.checkpoints?.keep),
    progress: progressOn(io.stderr, options.quiet ?? false, watchedBy(recipe)),
    resume: options.resume ?? false,
    force: options.force ?? false,
    provider: options.provider,
    checkpointSeconds: options.checkpointEvery,
  })
  print(io, result, options.json, () => formatTrainingResult(result))
  if (result.interrupted) throw new Interrupted()
}

/** The measure of the validation data that a run is judged by. */
const watchedBy = ({ best, earlyStopping, schedule }: Recipe): string =>
  (typeof best === 'object' ? best.metric : undefined) ??
  earlyStopping?.metric ??
  (schedule?.kind === 'plateau' ? schedule.metric : undefined) ??
  'loss'
