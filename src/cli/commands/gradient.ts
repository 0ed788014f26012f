import type { Command } from 'commander'
import { readModel, writeModel } from '../../node/model.js'
import { buildGradientModel } from '../../train/graphs/gradient-model.js'
import { checkNotOverwriting } from '../errors.js'
import { type Io, print } from '../io.js'

interface Options {
  readonly output: string
  readonly wrt?: readonly string[]
  readonly json?: true
}

export function defineGradient(program: Command, io: Io): void {
  program
    .command('gradient')
    .description("write a model's vector-Jacobian product as a standard ONNX model")
    .argument('<model>', 'an ONNX file')
    .requiredOption('-o, --output <file>', 'where to write the gradient model')
    .option('--wrt <pattern...>', 'only gradients of inputs and tensors of these names; * stands for any characters')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
The gradient model has the inputs of the model, one input dy/<output> per floating-point output, and every
floating-point tensor as an input; it gives the outputs of the model and grad/<name> for every input and tensor.

Examples:
  $ onnx-ire gradient model.onnx -o gradient.onnx
  $ onnx-ire gradient model.onnx -o gradient.onnx --wrt 'layer4.*' '*.bias'`,
    )
    .action(async (path: string, { output, wrt, json }: Options) => {
      const model = await readModel(path)
      await checkNotOverwriting(path, output)
      const proto = buildGradientModel(model, wrt === undefined ? {} : { wrt })
      await writeModel(output, { proto, external: null })
      const names = (ports: readonly { readonly name?: string | undefined }[] = []) =>
        ports.map(({ name = '' }) => name)
      const result = { output, inputs: names(proto.graph?.input), outputs: names(proto.graph?.output) }
      const gradients = result.outputs.filter((name) => name.startsWith('grad/'))
      print(io, { ...result, gradients }, json, () => {
        const fed = result.inputs.filter((name) => name.startsWith('dy/'))
        return `wrote ${output}: ${result.inputs.length} inputs (${fed.join(', ')} among them), ${gradients.length} gradients`
      })
    })
}
