import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Environment, environmentsFolder, installCommand, isInstalled, pythonOf } from '../python/environments.js'
import type { Command } from './contender.js'
import { withoutRestrictions } from './environment.js'

export const base = 'onnx-ire'
export const enhanced = 'onnx-ire with IRE'
export const sharpnessAware = 'onnx-ire with SAM'
export const enhancedSharpnessAware = 'onnx-ire with SAM and IRE'
export const reference = 'PyTorch'

/** The contenders with IRE, and those that train with the same base optimizer without it. */
export const withoutIre: ReadonlyMap<string, string> = new Map([
  [enhanced, base],
  [enhancedSharpnessAware, sharpnessAware],
])

/** Libraries to compare with, by their names in `--against`. */
export const peers = ['torch', 'compile', 'jax', 'tfjs', 'jax-js'] as const
export type Peer = (typeof peers)[number]

/** The environment of a peer that runs in Python; the others are npm packages. */
const pythonPeers: Partial<Record<Peer, Environment>> = { torch: 'torch', compile: 'torch', jax: 'jax' }

/** Devices that steps run on. */
export const devices = ['cpu', 'cuda', 'webgpu'] as const
export type BenchDevice = (typeof devices)[number]

/** Devices that a peer has; the others run on the CPU only. */
const deviceSupport: Partial<Record<Peer, readonly BenchDevice[]>> = {
  torch: ['cpu', 'cuda'],
  compile: ['cpu', 'cuda'],
}

export interface Setting {
  readonly threads: number
  readonly device: BenchDevice
  /** Whether onnx-ire runs with IRE too. */
  readonly ire: boolean
  /** Whether onnx-ire runs with SAM too. */
  readonly sam: boolean
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const script = (path: string, ...args: string[]) => ['--import', 'tsx', here(path), ...args]

/** The peers that can run, and a message for each that is not installed. */
export function installedPeers(
  requested: readonly Peer[],
  device: BenchDevice,
): { installed: Peer[]; missing: string[] } {
  const reason = (peer: Peer): string | undefined => {
    if (!(deviceSupport[peer] ?? ['cpu']).includes(device)) return `it is not compared on ${device}`
    const environment = pythonPeers[peer]
    return environment === undefined || isInstalled(environment)
      ? undefined
      : `it is not installed; run ${installCommand(environment)}`
  }
  return {
    installed: requested.filter((peer) => reason(peer) === undefined),
    missing: requested.flatMap((peer) => (reason(peer) === undefined ? [] : [`${peer} is skipped: ${reason(peer)}`])),
  }
}

export function commandsFor(
  folder: string,
  requested: readonly Peer[],
  { threads, ire, sam, device }: Setting,
): Command[] {
  const count = String(threads)
  const node = { file: process.execPath, env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' } }
  const { env } = withoutRestrictions(process.env)
  const torch = {
    file: pythonOf('torch'),
    // Compiled code is kept from one run to the next: compiling takes minutes and is not measured.
    env: { ...env, OMP_NUM_THREADS: count, TORCHINDUCTOR_CACHE_DIR: join(environmentsFolder(), 'inductor') },
  }
  const own = (name: string, optimizer: string) => ({
    ...node,
    name,
    args: script('ours.ts', folder, count, optimizer, device),
  })
  const ours: Command[] = [
    own(base, 'adamw'),
    ...(ire ? [own(enhanced, 'ire')] : []),
    ...(sam ? [own(sharpnessAware, 'sam')] : []),
    ...(sam && ire ? [own(enhancedSharpnessAware, 'sam-ire')] : []),
  ]
  const others: Readonly<Record<Peer, Command>> = {
    torch: { ...torch, name: reference, args: [here('peers/torch_peer.py'), folder, count, 'eager', device] },
    compile: {
      ...torch,
      name: 'PyTorch compiled',
      args: [here('peers/torch_peer.py'), folder, count, 'compiled', device],
    },
    jax: {
      name: 'JAX',
      file: pythonOf('jax'),
      args: [here('peers/jax_peer.py'), folder],
      // XLA sizes its thread pool by NPROC.
      env: { ...env, NPROC: count, JAX_PLATFORMS: 'cpu' },
    },
    tfjs: { ...node, name: 'TensorFlow.js', args: script('peers/tfjs.mjs', folder, 'wasm') },
    'jax-js': { ...node, name: 'jax-js', args: script('peers/jax-js.mjs', folder) },
  }
  return [...ours, ...requested.map((peer) => others[peer])]
}

/** Installs the packages of peers/package.json if they are missing. They are no dependencies of onnx-ire. */
export function installPeers(): void {
  if (existsSync(here('peers/node_modules/@jax-js/jax')) && existsSync(here('peers/node_modules/@tensorflow/tfjs')))
    return
  console.error('Installing the peers from npm into tools/bench/peers ...')
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: here('peers'),
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}
