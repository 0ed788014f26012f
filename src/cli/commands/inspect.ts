import { stat } from 'node:fs/promises'
import { type Command, InvalidArgumentError } from 'commander'
import type { InputShapes } from '../../analysis/inspect/apply-shapes.js'
import { inspectModel } from '../../analysis/inspect/inspect.js'
import { readModel } from '../../node/files/model.js'
import { type Io, print } from '../io.js'
import { jsonOption } from '../options.js'
import { formatInspection } from '../text/inspection.js'

interface Options {
  readonly shape: InputShapes
  readonly all?: true
  readonly tensors?: true
  readonly json?: true
}

/** Defines `onnx-ire inspect`. */
export function defineInspect(program: Command, io: Io): void {
  program
    .command('inspect')
    .description('show the layers and tensors of a model, which tensors training changes, and the cost of a step')
    .argument('<model>', 'an ONNX file')
    .option(
      '--shape <input=lengths>',
      'lengths of an input whose shape the file does not fix; may be repeated',
      addShape,
      {},
    )
    .option('--all', 'list operators without weights, too')
    .option('--tensors', 'list every tensor')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Examples:
  $ onnx-ire inspect model.onnx
  $ onnx-ire inspect model.onnx --shape x=1x3x224x224
  $ onnx-ire inspect model.onnx --all --tensors
  $ onnx-ire inspect model.onnx --json | jq '.tensors[] | select(.trainable) | .name'`,
    )
    .action(async (path: string, { shape: shapes, json, ...lists }: Options) => {
      const inspection = { file: path, ...inspectModel(await readModel(path), { shapes }) }
      const { size } = await stat(path)
      const complete = { all: lists.all ?? false, tensors: lists.tensors ?? false }
      print(io, { ...inspection, bytes: size }, json, () => formatInspection(path, size, inspection, complete))
    })
}

/** Adds an input shape: `x=1x3x224x224`, or `x=` for a scalar. */
function addShape(text: string, previous: InputShapes): InputShapes {
  const [, name, lengths] = /^(.+)=((?:\d+(?:x\d+)*)?)$/s.exec(text) ?? []
  if (name === undefined || lengths === undefined)
    throw new InvalidArgumentError('It must be an input and its lengths, such as x=1x3x224x224.')
  return { ...previous, [name]: lengths === '' ? [] : lengths.split('x').map(Number) }
}
