import { type Command, InvalidArgumentError } from 'commander'
import { build, type Preset } from 'onnx-ire/models'
import type { Graph } from '../../ir/value.js'
import { writeModel } from '../../node/model.js'
import { modelOf } from '../../onnx/export/export-graph.js'
import { findTrainable } from '../../train/model/trainable.js'
import { presetNames, presetTitle, readPreset } from '../inputs/read-preset.js'
import { type Io, print } from '../io.js'
import { collect } from '../options.js'
import { formatNumber, formatTable } from '../text/format.js'

interface Options {
  readonly output?: string
  readonly set: readonly string[]
  readonly seed?: number
  readonly list?: true
  readonly json?: true
}

export function defineInit(program: Command, io: Io): void {
  const command = program
    .command('init')
    .description('write a model of a known architecture with fresh weights, to train from scratch')
    .argument('[preset]', 'a name that --list gives, or a preset of your own (.json)')
    .option('-o, --output <file>', 'where to write the model (default: <preset>.onnx)')
    .option('--set <path=value>', 'change an option of the preset; may be repeated', collect, [])
    .option('--seed <n>', 'decides the weights: the same seed gives the same file (default: 0)', seed)
    .option('--list', 'name the presets')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
The model is in its evaluation form. Training with batchNorm 'trained' normalises by the batch.

Examples:
  $ onnx-ire init --list
  $ onnx-ire init llama-60m -o model.onnx
  $ onnx-ire init resnet-56 --set classes=100 --seed 3 -o resnet.onnx`,
    )
    .action(async (name: string | undefined, options: Options) => {
      if (options.list) return listed(io, options.json)
      if (name === undefined) return command.error('error: name a preset; --list shows them all', { exitCode: 2 })
      const preset = await readPreset(name, options.set)
      const { inputs, outputs, ...graph } = build(preset, options.seed)
      const title = presetTitle(name)
      const output = options.output ?? `${title}.onnx`
      await writeModel(output, modelOf({ name: title, inputs, outputs }))
      const result = {
        output,
        kind: preset.kind,
        seed: options.seed ?? preset.seed ?? 0,
        parameters: elements(findTrainable({ ...graph, inputs, outputs })),
        inputs: ports(inputs),
        outputs: ports(outputs),
      }
      print(io, result, options.json, () => text(result))
    })
}

function seed(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new InvalidArgumentError('It must be a whole number from 0 on.')
}

async function listed(io: Io, json: true | undefined): Promise<void> {
  const presets = await Promise.all(
    (await presetNames()).map(async (name) => {
      const preset = await readPreset(name)
      return { name, parameters: elements(findTrainable(build(preset))), ...preset }
    }),
  )
  const rows = presets.map(({ name, parameters, about = '' }) => [name, parameters, about])
  print(io, { presets }, json, () => formatTable(['preset', 'parameters', ''], rows))
}

interface Port {
  readonly name: string
  readonly type: string
  readonly shape: readonly (string | number)[]
}

interface Result {
  readonly output: string
  readonly kind: Preset['kind']
  readonly parameters: number
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

const ports = (values: Graph['inputs']): Port[] =>
  [...values].map(([name, { dtype, shape = [] }]) => ({ name, type: dtype, shape }))

const elements = (values: Graph['parameters']): number =>
  [...values.values()].reduce((sum, { shape = [] }) => sum + shape.reduce<number>((n, dim) => n * Number(dim), 1), 0)

function text({ output, kind, parameters, inputs, outputs }: Result): string {
  const written = (all: readonly Port[]) =>
    all.map(({ name, type, shape }) => `${name} ${type} [${shape.join(', ')}]`).join(', ')
  return `wrote ${output}: ${kind} of ${formatNumber(parameters)} parameters, ${written(inputs)} to ${written(outputs)}`
}
