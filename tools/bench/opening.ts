import { execFileSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Opened } from './open.js'
import { type Spread, spreadOf } from './statistics.js'

/** From a model's file to the bytes of its training graph, seconds. */
export interface Opening {
  readonly file: string
  readonly megabytes: number
  readonly nodes: number
  readonly read: Spread
  readonly build: Spread
  readonly whole: Spread
}

/** Where `--densenet` looks when it is not given. */
export const densenet = fileURLToPath(
  new URL('../../node_modules/faceplugin-face-recognition-js/model/fr_expression.onnx', import.meta.url),
)

/** Each measurement in a process of its own, for a warm one is faster; null where the file is not. */
export function opening(file: string, rounds: number): Opening | null {
  if (!existsSync(file)) return null
  const all = Array.from({ length: rounds }, () => {
    const script = fileURLToPath(new URL('open.ts', import.meta.url))
    const said = execFileSync(process.execPath, ['--import', 'tsx', script, file], { encoding: 'utf8' })
    return JSON.parse(said) as Opened
  })
  return {
    file: basename(file),
    megabytes: Math.round(statSync(file).size / 1e6),
    nodes: all[0]!.nodes,
    read: spreadOf(all.map(({ read }) => read)),
    build: spreadOf(all.map(({ build }) => build)),
    whole: spreadOf(all.map(({ read, build }) => read + build)),
  }
}
