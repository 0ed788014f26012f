import { type Command, InvalidArgumentError, Option } from 'commander'
import type { InputShapes } from '../analysis/inspect/apply-shapes.js'
import { cApi } from '../node/c-api/runtime.js'
import { node } from '../node/runtime/node.js'
import { type Runtime, threadRange } from '../runtime/runtime.js'
import type { Recompute } from '../train/graphs/recompute.js'

/** Collects the values of an option that may be repeated. */
const collect = (value: string, previous: readonly string[] = []): string[] => [...previous, value]

/** Parses a comma-separated list. */
export function parseList(text: string): string[] {
  const items = text.split(',').map((item) => item.trim())
  if (!items.includes('')) return items
  throw new InvalidArgumentError('It must be a comma-separated list.')
}

/** Parses an integer of at least 1. */
export function parsePositiveInteger(text: string): number {
  const value = parseInteger(text)
  if (value !== null && value >= 1) return value
  throw new InvalidArgumentError('It must be an integer of at least 1.')
}

/** Parses a number of threads. */
export function parseThreads(text: string): number {
  const value = parseInteger(text)
  if (value !== null && value >= threadRange.min && value <= threadRange.max) return value
  throw new InvalidArgumentError(`It must be an integer from ${threadRange.min} to ${threadRange.max}.`)
}

/** Parses an integer of at least 0. */
export function parseNonNegativeInteger(text: string): number {
  const value = parseInteger(text)
  if (value !== null) return value
  throw new InvalidArgumentError('It must be an integer of at least 0.')
}

const parseInteger = (text: string): number | null =>
  /^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : null

/** Parses the number of a port, 0 for any free one. */
export function parsePort(text: string): number {
  const value = parseInteger(text)
  if (value !== null && value <= 65535) return value
  throw new InvalidArgumentError('It must be an integer from 0 to 65535.')
}

/** Parses a finite number. */
export function parseNumber(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value)) return value
  throw new InvalidArgumentError('It must be a number.')
}

/** Parses a finite number above 0. */
export function parsePositiveNumber(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('It must be a number above 0.')
}

/** Parses a number from 0 up to, but excluding, 1. */
export function parseFraction(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && value < 1) return value
  throw new InvalidArgumentError('It must be a fraction: at least 0 and below 1.')
}

/** Adds an input shape: `x=1x3x224x224`, or `x=` for a scalar. */
export function addShape(text: string, previous: InputShapes): InputShapes {
  const [, name, lengths] = /^(.+)=((?:\d+(?:x\d+)*)?)$/s.exec(text) ?? []
  if (name === undefined || lengths === undefined)
    throw new InvalidArgumentError('It must be an input and its lengths, such as x=1x3x224x224.')
  return { ...previous, [name]: lengths === '' ? [] : lengths.split('x').map(Number) }
}

/** The option `--json`, which every command has. */
export const jsonOption = (description = 'write one JSON document to standard output'): Option =>
  new Option('--json', description)

/** An option that may be repeated. */
export const repeatedOption = (flags: string, description: string): Option =>
  new Option(flags, `${description}; may be repeated`).argParser(collect).default([], 'none')

/** The option `--set`, which changes fields of a recipe or preset for one run. */
export const setOption = (description: string): Option =>
  repeatedOption('--set <path=value>', description).default([], 'no changes')

const providers = ['cpu', 'webgpu', 'cuda'] as const

/** Value of `--provider`. */
export type CliProvider = (typeof providers)[number]

/** Values of the options that `addRuntimeOptions` adds. */
export interface RuntimeOptions {
  readonly batchSize?: number
  readonly threads?: number
  readonly provider: CliProvider
  readonly quiet?: true
  readonly json?: true
}

/** Adds the options of every command that runs a model over data. */
export function addRuntimeOptions(command: Command, json = jsonOption()): void {
  command
    .option('--batch-size <n>', 'examples per batch', parsePositiveInteger)
    .option('--threads <n>', 'threads per operator', parseThreads)
    .addOption(providerOption())
    .option('--quiet', 'show no progress')
    .addOption(json)
}

/** The option `--provider`. */
export const providerOption = (): Option =>
  new Option(
    '--provider <name>',
    'device: webgpu is a GPU through Vulkan, Metal or Direct3D 12; cuda is an NVIDIA GPU (docs/gpu.md)',
  )
    .choices(providers)
    .default('cpu')

/** Starts the runtime of a provider. Throws `runtime` with the reason if the provider does not start. */
export async function createRuntime(provider: CliProvider, threads: number | undefined): Promise<Runtime> {
  return provider === 'cuda' ? cApi({ provider, threads }) : node({ provider, threads, fallback: null })
}

/** The option --recompute: the word 'blocks' alone, or patterns of names. */
export const readRecompute = (given: readonly string[] | undefined): { readonly recompute?: Recompute } =>
  given === undefined ? {} : { recompute: given.length === 1 && given[0] === 'blocks' ? 'blocks' : given }

/** Names as a comma-separated list in lines of at most 110 characters. */
export function listNames(names: readonly string[]): string {
  const lines: string[] = []
  for (const name of names) {
    const line = lines.at(-1)
    if (line === undefined || line.length + name.length > 107) lines.push(name)
    else lines[lines.length - 1] = `${line}, ${name}`
  }
  return lines.join(',\n')
}

/** The section of a command's help with examples. */
export const formatExamples = (...commands: readonly string[]): string =>
  `\nExamples:\n${commands.map((command) => `  $ ${command}`).join('\n')}`
