import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { type NodeOptions, node } from '../../src/node/runtime.js'
import { startNode } from '../../src/node/start.js'
import type { Runtime } from '../../src/runtime/runtime.js'

/** A GPU made of software: Debian's chromium brings it. */
const swiftShader = '/usr/lib/chromium/vk_swiftshader_icd.json'
if (process.env['VK_ICD_FILENAMES'] === undefined && existsSync(swiftShader)) {
  process.env['VK_ICD_FILENAMES'] = swiftShader
  process.env['XDG_RUNTIME_DIR'] ??= tmpdir()
}

/** Why WebGPU does not start here; undefined where it does. */
export async function whyNoWebgpu(): Promise<string | undefined> {
  try {
    const runtime = await startNode({ provider: 'webgpu' })
    await runtime.dispose()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** Says by name what is not tested for want of a GPU. */
export function skipLoudly(what: string, why: string | undefined): boolean {
  if (why !== undefined) console.warn(`\nNOT TESTED, for WebGPU does not start here: ${what}\n  ${why}\n`)
  return why !== undefined
}

/** WebGPU with every call checked. */
export const webgpu = (options: NodeOptions['webgpu'] = {}, rest: NodeOptions = {}): Runtime =>
  node({ ...rest, provider: 'webgpu', webgpu: { validation: 'basic', ...options } })
