import { type Command, Option } from 'commander'
import type { Adapter } from '../../adapter/adapter.js'
import { makeLoraReady } from '../../adapter/lora-ready.js'
import { mergeAdapter } from '../../adapter/merge-adapter.js'
import { mergeQuantized } from '../../adapter/quantize-model.js'
import { findRecord } from '../../adapter/record.js'
import { sizeOf } from '../../ir/tensor.js'
import { writeOnnxAdapter, writePeftFolder } from '../../node/files/adapter.js'
import { listModelFiles, readModel, writeModel } from '../../node/files/model.js'
import { inlineFunctions } from '../../onnx/inline-functions.js'
import { OnnxIreError } from '../../util/errors.js'
import { usageError } from '../errors.js'
import { formatCount, formatNumber, formatTable } from '../format.js'
import { type Io, print, writeText } from '../io.js'
import { formatExamples, jsonOption, parseList } from '../options.js'
import { prepareOutputs } from '../outputs.js'
import { applyStored, formFiles, isOwnBase, readAdapter, type StoredAdapter } from '../stored-adapter.js'

const adapterArgument = ['<adapter>', 'a PEFT folder, an .onnx_adapter file, or an .onnx file with an adapter'] as const

/** Defines `onnx-ire adapter`. */
export function defineAdapter(program: Command, io: Io): void {
  const adapter = program
    .command('adapter')
    .description('inspect, convert and merge adapters (LoRA, (IA)^3)')
    .addHelpText(
      'after',
      formatExamples(
        'onnx-ire adapter inspect my-lora --base model.onnx',
        'onnx-ire adapter convert my-lora -o my-lora.onnx_adapter',
        'onnx-ire adapter merge model.onnx my-lora -o merged.onnx',
      ),
    )
  defineInspect(adapter, io)
  defineConvert(adapter, io)
  defineApply(adapter, io)
  defineMerge(adapter, io)
  defineBase(adapter, io)
  defineInline(adapter, io)
}

interface InspectOptions {
  readonly base?: string
  readonly json?: true
}

function defineInspect(parent: Command, io: Io): void {
  parent
    .command('inspect')
    .description('show the layers and settings of an adapter, and whether it fits a model')
    .argument(...adapterArgument)
    .option('--base <model>', 'check that the adapter fits this ONNX model')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      formatExamples(
        'onnx-ire adapter inspect my-lora',
        'onnx-ire adapter inspect my-lora.onnx_adapter --base model.onnx',
      ),
    )
    .action(async (path: string, { base, json }: InspectOptions) => {
      const stored = await readAdapter(path)
      warn(io, stored)
      const { config } = stored.adapter
      const layers = stored.adapter.layers.map(({ module, kind, a, b, scale, magnitude }) => ({
        module,
        kind,
        rank: a.dims[0]!,
        in: kind === 'conv' ? a.dims.slice(1) : [a.dims[1]!],
        out: b.dims[0]!,
        scale,
        dtype: a.dtype,
        parameters: sizeOf(a.dims) + sizeOf(b.dims) + sizeOf(magnitude?.dims ?? [0]),
        dora: magnitude !== undefined,
      }))
      const saved = (stored.adapter.saved ?? []).map(({ module, weight, bias }) => ({
        module,
        parameters: sizeOf(weight.dims) + sizeOf(bias?.dims ?? [0]),
      }))
      const scalings = (stored.adapter.scalings ?? []).map(({ module, kind, of, factors }) => ({
        module,
        kind,
        of,
        dtype: factors.dtype,
        parameters: sizeOf(factors.dims),
      }))
      const parameters = [...layers, ...scalings, ...saved].reduce((sum, each) => sum + each.parameters, 0)
      const fit = base === undefined ? undefined : await describeFit(stored, path, base)
      const { format, warnings } = stored
      print(
        io,
        { adapter: path, format, parameters, config, layers, scalings, saved, warnings, ...(fit && { base: fit }) },
        json,
        () => {
          const rows = layers.map(({ module, kind, rank, in: inputs, out, scale, dtype }) => [
            module,
            kind,
            inputs.join(' x '),
            out,
            rank,
            scale,
            dtype,
          ])
          const dora = layers.some((layer) => layer.dora) ? ', DoRA' : ''
          const settings =
            scalings.length > 0
              ? '(IA)^3'
              : `r ${config.r}, alpha ${formatNumber(config.alpha)}${config.rsLora ? ', rsLoRA' : ''}${dora}`
          return [
            scalings.length > 0
              ? formatTable(
                  ['module', 'kind', 'factors of', 'number', 'type'],
                  scalings.map(({ module, kind, of, parameters, dtype }) => [module, kind, of, parameters, dtype]),
                )
              : formatTable(['module', 'kind', 'in', 'out', 'rank', 'scale', 'type'], rows),
            `${path}: ${formatCount(countLayers(stored.adapter), 'layer')}, ${formatCount(parameters, 'parameter')}, ${settings}`,
            ...saved.map(
              (each) => `${each.module} is trained as a whole: ${formatCount(each.parameters, 'parameter')}`,
            ),
            ...(fit
              ? [`It fits ${fit.model}${fit.isOwnBase === false ? ', which is not the model it was made from' : ''}.`]
              : []),
          ].join('\n')
        },
      )
    })
}

/** Number of layers that an adapter changes. */
const countLayers = ({ layers, scalings = [] }: Adapter): number => layers.length + scalings.length

/** Applies an adapter to a model, which throws if it does not fit. */
async function describeFit(stored: StoredAdapter, path: string, base: string) {
  const model = await readModel(base)
  applyStored(stored, path, model, true)
  return { model: base, isOwnBase: isOwnBase(stored.adapter, model) }
}

interface ConvertOptions {
  readonly output: string
  readonly to?: 'peft' | 'onnx-adapter'
  readonly dtype?: 'float32' | 'float16'
  readonly baseModel?: string
  readonly json?: true
}

function defineConvert(parent: Command, io: Io): void {
  const command = parent
    .command('convert')
    .description('convert an adapter to a PEFT folder or an .onnx_adapter file')
    .argument(...adapterArgument)
    .requiredOption('-o, --output <path>', 'folder of PEFT, or a file whose name ends in .onnx_adapter')
    .addOption(
      new Option(
        '--to <format>',
        'format (default: onnx-adapter if the name ends in .onnx_adapter, else peft)',
      ).choices(['peft', 'onnx-adapter']),
    )
    .addOption(
      new Option('--dtype <type>', 'type of the tensors in an .onnx_adapter file (default: as they are)').choices([
        'float32',
        'float16',
      ]),
    )
    .option('--base-model <name>', 'name or path of the base model in adapter_config.json')
    .addOption(jsonOption())
  command
    .addHelpText(
      'after',
      `
An .onnx_adapter file holds no alpha: it is multiplied into B. Converted to PEFT, alpha is the rank.
${formatExamples('onnx-ire adapter convert my-lora -o my-lora.onnx_adapter --dtype float16', 'onnx-ire adapter convert tuned.onnx -o my-lora --base-model HuggingFaceTB/SmolLM2-135M-Instruct')}`,
    )
    .action(async (path: string, options: ConvertOptions) => {
      const { output, dtype, baseModel, json } = options
      const to = options.to ?? (output.endsWith('.onnx_adapter') ? 'onnx-adapter' : 'peft')
      if (to === 'peft' && dtype) usageError(command, '--dtype is for .onnx_adapter files; PEFT folders keep the type')
      if (to !== 'peft' && baseModel) usageError(command, '--base-model is for PEFT folders')
      const stored = await readAdapter(path)
      warn(io, stored)
      await prepareOutputs({ files: formFiles(to, output) }, async () => stored.files)
      const { config } = stored.adapter
      const layers = countLayers(stored.adapter)
      if (to === 'peft')
        await writePeftFolder(output, { ...stored.adapter, config: { ...config, ...(baseModel && { baseModel }) } })
      else await writeOnnxAdapter(output, stored.adapter, dtype ? { dtype } : {})
      print(
        io,
        { output, format: to, adapter: path, layers },
        json,
        () => `wrote ${output}: ${formatCount(layers, 'layer')} of ${path}`,
      )
    })
}

interface ApplyOptions {
  readonly output: string
  readonly anyBase?: boolean
  readonly json?: true
}

const anyBaseOption = (): Option =>
  new Option('--any-base', 'accept a model whose weights differ from those that the adapter was made from')

function defineApply(parent: Command, io: Io): void {
  parent
    .command('apply')
    .description('insert an adapter into a model, beside its weights, to run it or to train it further')
    .argument('<model>', 'an ONNX file, float or quantized')
    .argument(...adapterArgument)
    .requiredOption('-o, --output <file>', 'path of the model with the adapter')
    .addOption(anyBaseOption())
    .addOption(jsonOption())
    .addHelpText('after', formatExamples('onnx-ire adapter apply model_q4.onnx my-lora -o tuned.onnx'))
    .action(async (modelPath: string, path: string, { output, anyBase = false, json }: ApplyOptions) => {
      const stored = await readAdapter(path)
      warn(io, stored)
      const model = await readModel(modelPath)
      const inputs = [...stored.files, ...listModelFiles(modelPath, model)]
      await prepareOutputs({ files: [output] }, async () => inputs)
      await writeModel(output, applyStored(stored, path, model, anyBase))
      const layers = countLayers(stored.adapter)
      print(
        io,
        { output, model: modelPath, adapter: path, layers },
        json,
        () => `wrote ${output}: ${modelPath} with the ${formatCount(layers, 'layer')} of ${path} beside its weights`,
      )
    })
}

interface MergeOptions extends ApplyOptions {
  readonly bits?: '4' | '8'
}

function defineMerge(parent: Command, io: Io): void {
  parent
    .command('merge')
    .description('merge an adapter into the weights of a model')
    .argument('<model>', 'an ONNX file; with its own adapter if no other is named')
    .argument('[adapter]', adapterArgument[1])
    .requiredOption('-o, --output <file>', 'path of the merged model')
    .addOption(
      new Option('--bits <n>', 'quantize all MatMul weights after merging (MatMulNBits, blocks of 32)').choices([
        '4',
        '8',
      ]),
    )
    .addOption(anyBaseOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
LoRA over a quantized weight can only be merged with --bits, which rounds the sum: compare the loss with
onnx-ire evaluate. (IA)^3 is merged into the scales of a quantized weight.
${formatExamples('onnx-ire adapter merge model.onnx my-lora -o merged.onnx', 'onnx-ire adapter merge tuned.onnx -o merged.onnx', 'onnx-ire adapter merge model_q4.onnx my-lora --bits 4 -o merged_q4.onnx')}`,
    )
    .action(async (modelPath: string, path: string | undefined, options: MergeOptions) => {
      const { output, bits, anyBase = false, json } = options
      const stored = path === undefined ? undefined : await readAdapter(path)
      if (stored) warn(io, stored)
      const model = await readModel(modelPath)
      if (!stored && !findRecord(model.proto))
        throw new OnnxIreError('invalid-option', `${modelPath} has no adapter: name one after the model`)
      const inputs = [...(stored?.files ?? []), ...listModelFiles(modelPath, model)]
      await prepareOutputs({ files: [output] }, async () => inputs)
      const applied = stored ? applyStored(stored, path!, model, anyBase) : model
      const merged = bits ? mergeQuantized(applied, { bits: bits === '4' ? 4 : 8 }) : mergeAdapter(applied)
      await writeModel(output, merged)
      print(
        io,
        { output, model: modelPath, adapter: path ?? modelPath, bits: bits ? Number(bits) : null },
        json,
        () =>
          `wrote ${output}: ${modelPath} merged with ${path ?? 'its adapter'}${bits ? `, MatMul weights in ${bits} bits` : ''}`,
      )
    })
}

interface BaseOptions {
  readonly output: string
  readonly targets?: readonly string[]
  readonly required?: boolean
  readonly json?: true
}

function defineBase(parent: Command, io: Io): void {
  parent
    .command('base')
    .description('write a model that takes adapters as inputs, for .onnx_adapter files')
    .argument('<model>', 'an ONNX file; an adapter in it is removed, and its layers are the targets')
    .requiredOption('-o, --output <file>', 'path of the base model')
    .option('--targets <names>', 'layers that adapters may change, comma-separated (default: all-linear)', parseList)
    .option('--required', 'inputs that must be fed, for onnxruntime-node and onnxruntime-web')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      formatExamples(
        'onnx-ire adapter base tuned.onnx -o base.onnx',
        'onnx-ire adapter base model.onnx --targets q_proj,v_proj --required -o base.onnx',
      ),
    )
    .action(async (modelPath: string, { output, targets, required = false, json }: BaseOptions) => {
      const model = await readModel(modelPath)
      await prepareOutputs({ files: [output] }, async () => listModelFiles(modelPath, model))
      const base = makeLoraReady(model, { optional: !required, ...(targets && { targets }) })
      await writeModel(output, base)
      const before = new Set(model.proto.graph!.input.map(({ name }) => name))
      const inputs = base.proto.graph!.input.flatMap(({ name = '' }) => (before.has(name) ? [] : [name]))
      print(
        io,
        { output, model: modelPath, inputs, required },
        json,
        () =>
          `wrote ${output}: ${modelPath} with ${formatCount(inputs.length, 'input')} for A and B of ${formatCount(inputs.length / 2, 'layer')}`,
      )
    })
}

function defineInline(parent: Command, io: Io): void {
  parent
    .command('inline')
    .description('put the nodes of functions in place of their calls, so that adapters can change the layers in them')
    .argument('<model>', 'an ONNX file with functions')
    .requiredOption('-o, --output <file>', 'path of the model without functions')
    .addOption(jsonOption())
    .addHelpText('after', formatExamples('onnx-ire adapter inline model.onnx -o inlined.onnx'))
    .action(async (path: string, { output, json }: { readonly output: string; readonly json?: true }) => {
      const model = await readModel(path)
      const functions = model.proto.functions.length
      if (functions === 0) throw new OnnxIreError('invalid-option', `${path} has no functions: use the file as it is`)
      await prepareOutputs({ files: [output] }, async () => listModelFiles(path, model))
      const inlined = inlineFunctions(model)
      await writeModel(output, inlined)
      const nodes = inlined.proto.graph!.node.length
      print(
        io,
        { output, model: path, functions, nodes },
        json,
        () =>
          `wrote ${output}: ${path} with ${formatCount(nodes, 'node')} and without its ${formatCount(functions, 'function')}`,
      )
    })
}

function warn(io: Io, { warnings }: StoredAdapter): void {
  for (const warning of warnings) writeText(io.stderr, `warning: ${warning}\n`)
}
