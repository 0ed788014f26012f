import { type Command, Option } from 'commander'
import type { AdapterOptions } from '../../adapter/create-adapter.js'
import { findLayers } from '../../adapter/layers.js'
import type { AdapterInit } from '../../adapter/lora.js'
import { isFloatWeight } from '../../adapter/merge-factors.js'
import { adapterOf } from '../../adapter/read-adapter.js'
import type { Model } from '../../onnx/model.js'
import { OnnxIreError } from '../../util/errors.js'
import { parseFraction, parseList, parsePositiveInteger, parsePositiveNumber } from '../options.js'

/** Kinds of a new adapter; `none` trains all weights. */
export const adapterKinds = ['lora', 'dora', 'ia3', 'none'] as const
export type NewAdapterKind = (typeof adapterKinds)[number]

/** Options of a new adapter. */
export interface NewAdapterOptions {
  /** Default 16. */
  readonly r?: number
  /** Default: twice `r`. */
  readonly alpha?: number
  readonly dropout?: number
  readonly targets?: readonly string[]
  readonly exclude?: readonly string[]
  readonly saveModules?: readonly string[]
  readonly feedforward?: readonly string[]
  readonly rsLora?: true
  readonly init?: AdapterInit
}

const withMatrices: readonly NewAdapterKind[] = ['lora', 'dora']
const withLayers: readonly NewAdapterKind[] = ['lora', 'dora', 'ia3']

/** Kinds of adapters that have an option. */
const kindsWith: Readonly<Record<keyof NewAdapterOptions, readonly NewAdapterKind[]>> = {
  ...{ r: withMatrices, alpha: withMatrices, rsLora: withMatrices, dropout: withMatrices, init: withMatrices },
  ...{ targets: withLayers, exclude: withLayers, saveModules: withLayers },
  feedforward: ['ia3'],
}

/** Adds the options of a new adapter; `--adapter` is an option of each command. */
export const addAdapterOptions = (command: Command): Command =>
  command
    .option('--r <n>', 'rank of lora and dora (default: 16)', parsePositiveInteger)
    .option('--alpha <a>', 'numerator of its scale (default: 2 r)', parsePositiveNumber)
    .option('--rs-lora', 'scale by alpha / sqrt(r) instead of alpha / r')
    .option('--dropout <p>', 'probability of dropping an input of A in training (default: 0)', parseFraction)
    .addOption(
      new Option(
        '--init <values>',
        'initial values: pissa begins with the largest singular values of the weights (default: kaiming)',
      ).choices(['kaiming', 'gaussian', 'pissa'] satisfies AdapterInit[]),
    )
    .option(
      '--targets <names>',
      'layers, as PEFT names them: q_proj,v_proj (default: all linear layers; of ia3: k_proj,v_proj,down_proj)',
      parseList,
    )
    .option('--exclude <names>', 'layers without an adapter although --targets names them', parseList)
    .option(
      '--feedforward <names>',
      'layers of ia3 whose inputs are multiplied instead of their outputs (default: down_proj, none with --targets)',
      parseList,
    )
    .option(
      '--save-modules <names>',
      "layers that are trained as a whole beside the adapter, as PEFT's modules_to_save",
      parseList,
    )

/** The options of a new adapter that are given, with their flags. */
export const listGiven = (options: NewAdapterOptions): readonly (readonly [keyof NewAdapterOptions, string])[] =>
  (Object.keys(kindsWith) as (keyof NewAdapterOptions)[])
    .filter((name) => options[name] !== undefined)
    .map((name) => [name, `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`])

/**
 * The options of a new adapter for `createAdapter`; undefined to train all weights.
 * @throws OnnxIreError `invalid-option` for an option of another kind
 */
export function readNewAdapter(
  kind: NewAdapterKind,
  options: NewAdapterOptions,
  seed: number,
): AdapterOptions | undefined {
  for (const [name, flag] of listGiven(options))
    if (!kindsWith[name].includes(kind))
      throw new OnnxIreError(
        'invalid-option',
        `${flag} is for --adapter ${kindsWith[name].join(' and ')}, and --adapter is ${kind}: omit ${flag}, or change --adapter`,
      )
  if (kind === 'none') return undefined
  const { r = 16, alpha = 2 * r, dropout, rsLora, init, targets, exclude, feedforward, saveModules } = options
  const layers = {
    ...(targets && { targets }),
    ...(exclude && { exclude }),
    ...(saveModules && { modulesToSave: saveModules }),
  }
  if (kind === 'ia3') return { kind, ...layers, ...(feedforward && { feedforward }) }
  return {
    ...{ r, alpha, seed, ...layers },
    ...(kind === 'dora' && { dora: true }),
    ...(rsLora && { rsLora }),
    ...(dropout !== undefined && { dropout }),
    ...(init && { init }),
  }
}

/** A new adapter in a plan. */
export function describeAdapter(options: AdapterOptions | undefined): string {
  if (!options) return 'none: all weights are trained'
  if (options.kind === 'ia3') return '(IA)^3'
  const { r, alpha, dora, rsLora, dropout, init } = options
  return [
    `${dora ? 'DoRA' : 'LoRA'} r ${r}`,
    `alpha ${alpha}`,
    ...(rsLora ? ['rsLoRA'] : []),
    ...(dropout ? [`dropout ${dropout}`] : []),
    ...(init === 'pissa' ? ['PiSSA'] : init ? [init] : []),
  ].join(', ')
}

/** Throws `invalid-option` for low-rank changes of quantized weights, with which they cannot be merged at the end. */
export function checkMergeable(model: Model): void {
  const changed = new Set(adapterOf(model).layers.map(({ module }) => module))
  const quantized = findLayers(model).find((layer) => changed.has(layer.module) && !isFloatWeight(layer))
  if (quantized)
    throw new OnnxIreError(
      'invalid-option',
      `the adapter is merged into the weights at the end, and those of ${quantized.module} have ${quantized.weight.bits} bits: take a float file with --dtype fp32 or fp16, or --adapter ia3, which is merged into their scales`,
    )
}
