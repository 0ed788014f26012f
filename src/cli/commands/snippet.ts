import { basename } from 'node:path'
import { type Command, Option } from 'commander'
import { findScoreKind } from '../../analysis/snippet/score-kind.js'
import { type Snippet, type SnippetInput, type SnippetTarget, writeSnippet } from '../../analysis/snippet/snippet.js'
import { batches } from '../../data/batches.js'
import { subset } from '../../data/dataset.js'
import { takeExamples } from '../../data/stream.js'
import { inferInput } from '../../node/data/data-source.js'
import { RecipeData } from '../../node/data/recipe-data.js'
import { readModel } from '../../node/files/model.js'
import { listInputs } from '../../onnx/import/declarations.js'
import type { Model } from '../../onnx/model.js'
import type { Recipe } from '../../recipe/recipe.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn } from '../../util/record.js'
import { readRecipe } from '../inputs/read-recipe.js'
import { type Io, print } from '../io.js'
import { jsonOption } from '../options.js'
import { findRunFiles } from '../training/run-record.js'

/** Defines `onnx-ire snippet`. */
export function defineSnippet(program: Command, io: Io): void {
  program
    .command('snippet')
    .description('print the lines of code that run the trained model of a run without this library')
    .argument('<run>', 'a run folder')
    .addOption(
      new Option('--for <platform>', 'onnxruntime-node, onnxruntime-web, or onnxruntime of Python')
        .choices(['node', 'web', 'python'])
        .default('node'),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The lines contain the preprocessing of the run's images, the names of its classes, and the inputs and outputs of its model. In Node
they need sharp and print what predict prints; in Python they need numpy and Pillow. Inputs that are not images have the values of
an example of the run's data, as the run reads them: after scaling, encoding and padding.

Examples:
  $ onnx-ire snippet runs/recipe > predict.mjs && cd runs/recipe && node ../../predict.mjs photo.jpg
  $ onnx-ire snippet runs/recipe --for python > predict.py`,
    )
    .action(async (path: string, { for: target, json }: { for: SnippetTarget; json?: true }) => {
      const run = findRunFiles(path)
      if (!run)
        throw new OnnxIreError(
          'io',
          `${path} is not a run folder: it has no recipe.json; name a folder that train wrote`,
        )
      const model = await readModel(run.model)
      const recipe = await readRecipe(run.recipe)
      const code = writeSnippet(target, await describeRun(basename(run.model), model, recipe))
      print(io, { for: target, code }, json, () => code.trimEnd())
    })
}

async function describeRun(file: string, model: Model, recipe: Recipe): Promise<Snippet> {
  const data = await RecipeData.open(recipe, model, model)
  const [names, ...others] = Object.values(await data.classes())
  const outputs = (model.proto.graph?.output ?? []).map(({ name = '' }) => name)
  const hasClasses = names !== undefined && others.length === 0 && outputs.length === 1
  return {
    ...{ model: file, outputs, inputs: await describeInputs(model, recipe, data) },
    classes: hasClasses ? { scores: findScoreKind(model, outputs[0]!), names } : null,
  }
}

/** Describes the inputs of a model by its first training example. */
async function describeInputs(model: Model, recipe: Recipe, data: RecipeData): Promise<SnippetInput[]> {
  const source = recipe.data.train
  const train = await data.train()
  const one = 'batch' in train ? subset(train, { end: 1 }) : takeExamples(train, 1)
  const image = source.kind === 'image-folder' ? inferInput(source, { model }) : undefined
  for await (const { tensors } of batches(one, { batchSize: 1 }))
    return listInputs(model.proto).map(({ name = '' }): SnippetInput => {
      const example = getOwn(tensors, name)
      if (!example) throw new OnnxIreError('invalid-data', `the data of the run have no input '${name}' of the model`)
      if (name !== image || source.kind !== 'image-folder') return { kind: 'values', name, example }
      const dims = example.dims.slice(1)
      const planar = source.image?.layout !== 'NHWC'
      // Without image.size all images have the same size.
      const [rows = 0, columns = 0] = planar ? dims.slice(1) : dims
      const size = source.image?.size ?? [rows, columns]
      return { kind: 'image', name, image: { ...source.image, size }, dims }
    })
  throw new OnnxIreError('invalid-data', 'the data of the run have no example')
}
