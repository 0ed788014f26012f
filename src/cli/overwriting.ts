import { realpath } from 'node:fs/promises'
import { OnnxIreError } from '../util/errors.js'

/** Throws `invalid-option` when a command is told to write its result over the model it reads. */
export async function refuseOverwriting(source: string, target: string): Promise<void> {
  const [from, to] = await Promise.all([source, target].map((path) => realpath(path).catch(() => null)))
  if (from !== null && from === to) {
    throw new OnnxIreError('invalid-option', `${target} is the model itself, which would be lost; choose another name`)
  }
}
