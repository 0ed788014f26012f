import type { Command } from 'commander'
import { build, type Preset } from 'onnx-ire/models'
import { totalSizeOf } from '../../ir/tensor.js'
import type { Graph } from '../../ir/value.js'
import { writeModel } from '../../node/files/model.js'
import { modelOf } from '../../onnx/export/export-graph.js'
import { isPresetFile } from '../../recipe/model.js'
import { findTrainable } from '../../train/model/trainable.js'
import { usageError } from '../errors.js'
import { formatNumber, formatTable } from '../format.js'
import { presetNames, presetTitle, readPreset } from '../inputs/read-preset.js'
import { type Io, print } from '../io.js'
import { jsonOption, parseNonNegativeInteger, setOption } from '../options.js'
import { prepareOutputs } from '../outputs.js'

interface Options {
  readonly output?: string
  readonly set: readonly string[]
  readonly seed?: number
  readonly list?: true
  readonly json?: true
}

/** Defines `onnx-ire init`. */
export function defineInit(program: Command, io: Io): void {
  const command = program
    .command('init')
    .description('write a model of a known architecture with random weights, to train from scratch')
    .argument('[preset]', 'a name from --list, or a preset of your own (.json)')
    .option('-o, --output <file>', 'path of the model (default: <preset>.onnx)')
    .addOption(setOption('change an option of the preset'))
    .option(
      '--seed <n>',
      'seed of the weights; the same seed writes the same file (default: 0)',
      parseNonNegativeInteger,
    )
    .option('--list', 'print the presets')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The file holds the inference form of the model. To normalize by batch statistics in training, set batchNorm:
'trained'.

Examples:
  $ onnx-ire init --list
  $ onnx-ire init llama-60m -o model.onnx
  $ onnx-ire init resnet-56 --set classes=100 --seed 3 -o resnet.onnx`,
    )
    .action(async (name: string | undefined, options: Options) => {
      if (options.list) return listPresets(io, options.json)
      if (name === undefined) return usageError(command, 'name a preset; --list prints all presets')
      const preset = await readPreset(name, options.set)
      const { inputs, outputs, ...graph } = build(preset, options.seed)
      const title = presetTitle(name)
      const output = options.output ?? `${title}.onnx`
      await prepareOutputs({ files: [output] }, async () => (isPresetFile(name) ? [name] : []))
      await writeModel(output, modelOf({ name: title, inputs, outputs }))
      const result = {
        output,
        kind: preset.kind,
        seed: options.seed ?? preset.seed ?? 0,
        parameters: totalSizeOf(findTrainable({ ...graph, inputs, outputs }).values()),
        inputs: toPorts(inputs),
        outputs: toPorts(outputs),
      }
      print(io, result, options.json, () => formatResult(result))
    })
}

async function listPresets(io: Io, json: true | undefined): Promise<void> {
  const presets = await Promise.all(
    (await presetNames()).map(async (name) => {
      const preset = await readPreset(name)
      return { name, parameters: totalSizeOf(findTrainable(build(preset)).values()), ...preset }
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

const toPorts = (values: Graph['inputs']): Port[] =>
  [...values].map(([name, { dtype, shape = [] }]) => ({ name, type: dtype, shape }))

function formatResult({ output, kind, parameters, inputs, outputs }: Result): string {
  const listPorts = (all: readonly Port[]) =>
    all.map(({ name, type, shape }) => `${name} ${type} [${shape.join(', ')}]`).join(', ')
  return `wrote ${output}: ${kind} with ${formatNumber(parameters)} parameters, ${listPorts(inputs)} to ${listPorts(outputs)}`
}
