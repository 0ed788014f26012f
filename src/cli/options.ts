import { InvalidArgumentError, Option } from 'commander'
import { cApi } from '../node/c-api/runtime.js'
import { startNode } from '../node/start.js'
import type { Runtime } from '../runtime/runtime.js'

/** For an option that may be repeated. */
export const collect = (value: string, before: readonly string[]): string[] => [...before, value]

/** A list with commas between its items. */
export function parseList(text: string): string[] {
  const items = text.split(',').map((item) => item.trim())
  if (!items.includes('')) return items
  throw new InvalidArgumentError('It must be a list with commas between its items.')
}

export function parsePositiveInteger(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= 1) return value
  throw new InvalidArgumentError('It must be a whole number from 1 on.')
}

export function parsePositiveNumber(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value > 0) return value
  throw new InvalidArgumentError('It must be a number of seconds above 0.')
}

const providers = ['cpu', 'webgpu', 'cuda'] as const
export type CliProvider = (typeof providers)[number]

/** What every command that runs a model takes. */
export const providerOption = () =>
  new Option(
    '--provider <name>',
    'what computes: webgpu is a GPU by Vulkan, Metal or Direct3D 12; cuda an NVIDIA GPU, and needs the package koffi (docs/gpu.md)',
  )
    .choices(providers)
    .default('cpu')

/** The runtime that was asked for, started. Throws `runtime` saying why it does not start. */
export async function createRuntime(provider: CliProvider, threads: number | undefined): Promise<Runtime> {
  if (provider === 'cuda') {
    return cApi({ provider, threads })
  }
  return startNode({ provider, threads })
}
