import { stat } from 'node:fs/promises'
import { type Command, InvalidArgumentError } from 'commander'
import { inspectModel } from '../../analysis/inspect/inspect.js'
import type { InputShapes } from '../../analysis/inspect/lengths.js'
import { readModel } from '../../node/model.js'
import { type Io, print } from '../io.js'
import { formatInspection } from '../text/inspection.js'

interface Options {
  readonly shape: InputShapes
  readonly all?: true
  readonly tensors?: true
  readonly json?: true
}

export function defineInspect(program: Command, io: Io): void {
  program
    .command('inspect')
    .description('show what a model is made of, what training would vary, and what a step costs')
    .argument('<model>', 'an ONNX file')
    .option('--shape <input=lengths>', 'lengths of an input that the file leaves open; may be repeated', addShape, {})
    .option('--all', 'list operators without weights among the layers')
    .option('--tensors', 'list every tensor')
    .option('--json', 'write JSON to standard output')
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
      const whole = { all: lists.all ?? false, tensors: lists.tensors ?? false }
      print(io, { ...inspection, bytes: size }, json, () => formatInspection(path, size, inspection, whole))
    })
}

/** `x=1x3x224x224`; a scalar is `x=`. */
function addShape(text: string, before: InputShapes): InputShapes {
  const [, name, lengths] = /^(.+)=((?:\d+(?:x\d+)*)?)$/s.exec(text) ?? []
  if (name === undefined || lengths === undefined)
    throw new InvalidArgumentError('It must be an input and its lengths, as in x=1x3x224x224.')
  return { ...before, [name]: lengths === '' ? [] : lengths.split('x').map(Number) }
}
