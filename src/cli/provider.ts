import { Option } from 'commander'
import type { Runtime } from '../runtime/runtime.js'

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
export async function runtimeOn(provider: CliProvider, threads: number | undefined): Promise<Runtime> {
  if (provider === 'cuda') {
    const { cApi } = await import('../node/c-api/runtime.js')
    return cApi({ provider, threads })
  }
  const { startNode } = await import('../node/start.js')
  return startNode({ provider, threads })
}
