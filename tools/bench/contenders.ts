import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Command } from './contender.js'

export const base = 'onnx-ire'
export const enhanced = 'onnx-ire with IRE'
export const reference = 'PyTorch'

/** Libraries to compare with, by their names in `--peers`. */
export const peers = ['torch', 'tfjs', 'jax'] as const
export type Peer = (typeof peers)[number]

export interface Setting {
  readonly threads: number
  readonly python: string
  /** Folder of the libblas.so.3 for PyTorch; undefined: that of the system. */
  readonly blas: string | undefined
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const script = (path: string, ...args: string[]) => ['--import', 'tsx', here(path), ...args]

export function commandsFor(folder: string, requested: readonly Peer[], { threads, python, blas }: Setting): Command[] {
  const count = String(threads)
  const node = { file: process.execPath, env: { ORT_DISABLE_TELEMETRY: '1' } }
  const ours: Command[] = [
    { ...node, name: base, args: script('ours.ts', folder, count, 'base') },
    { ...node, name: enhanced, args: script('ours.ts', folder, count, 'ire') },
  ]
  // Only the thread pool of OpenMP is enabled: a second pool would compete for the cores.
  const torchEnv = {
    OMP_NUM_THREADS: count,
    OPENBLAS_NUM_THREADS: '1',
    ...(blas ? { LD_LIBRARY_PATH: blas } : {}),
  }
  const others: Readonly<Record<Peer, Command>> = {
    torch: { name: reference, file: python, args: [here('peers/torch_peer.py'), folder, count], env: torchEnv },
    tfjs: { ...node, name: 'TensorFlow.js', args: script('peers/tfjs.mjs', folder, 'wasm') },
    jax: { ...node, name: 'jax-js', args: script('peers/jax.mjs', folder) },
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
