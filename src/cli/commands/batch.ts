import type { Command } from 'commander'
import type { InputShapes } from '../../analysis/inspect/apply-shapes.js'
import { listModelFiles, readModel, writeModel } from '../../node/files/model.js'
import { freeBatch } from '../../train/model/free-batch.js'
import { formatCount } from '../format.js'
import { type Io, print } from '../io.js'
import { addShape, createRuntime, jsonOption } from '../options.js'
import { prepareOutputs } from '../outputs.js'

interface Options {
  readonly output: string
  readonly shape: InputShapes
  readonly json?: true
}

/** Defines `onnx-ire batch`. */
export function defineBatch(program: Command, io: Io): void {
  program
    .command('batch')
    .description('let a model whose file fixes the number of examples take any number')
    .argument('<model>', 'an ONNX file')
    .requiredOption('-o, --output <file>', 'path of the new model')
    .option(
      '--shape <input=lengths>',
      'lengths for the comparison of an input with other open lengths; may be repeated',
      addShape,
      {},
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The first length of every input becomes a symbol, and constants that contain the number of examples are
rewritten. Shape inference has to give results in proportion to the number of examples, and both models are
run on random inputs: the new one has to give each example the outputs that the old one gives it alone.
Otherwise nothing is written, and the message names the node and the constant. Tensors are unchanged.

Examples:
  $ onnx-ire batch model.onnx -o free.onnx
  $ onnx-ire batch model.onnx --shape x=1x3x224x224 -o free.onnx`,
    )
    .action(async (path: string, { output, shape: shapes, json }: Options) => {
      const model = await readModel(path)
      await prepareOutputs({ files: [output] }, async () => listModelFiles(path, model))
      const runtime = await createRuntime('cpu', undefined)
      try {
        const { model: freed, fixed, changes } = await freeBatch(model, { runtime, shapes })
        if (fixed !== null) await writeModel(output, freed)
        print(io, { output: fixed === null ? null : output, fixed, changes }, json, () =>
          fixed === null
            ? `${path} takes any number of examples already; nothing was written`
            : [
                `wrote ${output}: it takes any number of examples instead of ${fixed}, with the same outputs for each`,
                `${formatCount(changes.length, 'operand')} rewritten${changes.map((change) => `\n  ${change}`).join('')}`,
              ].join('\n'),
        )
      } finally {
        await runtime.dispose()
      }
    })
}
