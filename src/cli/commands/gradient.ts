import type { Command } from 'commander'
import { listModelFiles, readModel, writeModel } from '../../node/files/model.js'
import { buildGradientModel } from '../../train/graphs/gradient-model.js'
import { type Io, print } from '../io.js'
import { jsonOption } from '../options.js'
import { prepareOutputs } from '../outputs.js'

interface Options {
  readonly output: string
  readonly wrt?: readonly string[]
  readonly json?: true
}

/** Defines `onnx-ire gradient`. */
export function defineGradient(program: Command, io: Io): void {
  program
    .command('gradient')
    .description("write a model's vector-Jacobian product as a standard ONNX model")
    .argument('<model>', 'an ONNX file')
    .requiredOption('-o, --output <file>', 'path of the gradient model')
    .option('--wrt <pattern...>', 'differentiate only these inputs and tensors; * matches any characters')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Inputs of the gradient model: the inputs of the model, dy/<output> per floating-point output, and every
floating-point tensor. Outputs: the outputs of the model, and grad/<name> for every input and tensor.

Examples:
  $ onnx-ire gradient model.onnx -o gradient.onnx
  $ onnx-ire gradient model.onnx -o gradient.onnx --wrt 'layer4.*' '*.bias'`,
    )
    .action(async (path: string, { output, wrt, json }: Options) => {
      const model = await readModel(path)
      await prepareOutputs({ files: [output] }, async () => listModelFiles(path, model))
      const proto = buildGradientModel(model, wrt === undefined ? {} : { wrt })
      await writeModel(output, { proto, external: null })
      const names = (ports: readonly { readonly name?: string | undefined }[] = []) =>
        ports.map(({ name = '' }) => name)
      const result = { output, inputs: names(proto.graph?.input), outputs: names(proto.graph?.output) }
      const gradients = result.outputs.filter((name) => name.startsWith('grad/'))
      print(io, { ...result, gradients }, json, () => {
        const outputGradients = result.inputs.filter((name) => name.startsWith('dy/'))
        return `wrote ${output}: ${result.inputs.length} inputs (including ${outputGradients.join(', ')}), ${gradients.length} gradients`
      })
    })
}
