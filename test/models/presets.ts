import { readdirSync, readFileSync } from 'node:fs'
import type { Preset } from '../../models/index.js'

const folder = new URL('../../models/presets/', import.meta.url)

/** The presets of the package. */
export const presetNames = readdirSync(folder).map((file) => file.replace('.json', ''))

export const preset = (name: string): Preset => JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8'))
