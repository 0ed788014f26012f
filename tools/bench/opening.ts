import { execFileSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { OpeningTimes } from './measure-opening.js'
import { type Spread, spreadOf } from './statistics.js'

/** Duration in seconds of each stage from a model file to the bytes of its training graph. */
export interface Opening {
  readonly file: string
  readonly megabytes: number
  readonly nodes: number
  readonly read: Spread
  readonly build: Spread
  readonly whole: Spread
}

/** Default path of `--densenet`. */
export const defaultDensenet = fileURLToPath(
  new URL('../../node_modules/faceplugin-face-recognition-js/model/fr_expression.onnx', import.meta.url),
)

/** Runs each measurement in a new process, because a warm one is faster; null if the file is missing. */
export function measureOpening(file: string, rounds: number): Opening | null {
  if (!existsSync(file)) return null
  const all = Array.from({ length: rounds }, () => {
    const script = fileURLToPath(new URL('measure-opening.ts', import.meta.url))
    const output = execFileSync(process.execPath, ['--import', 'tsx', script, file], { encoding: 'utf8' })
    return JSON.parse(output) as OpeningTimes
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
