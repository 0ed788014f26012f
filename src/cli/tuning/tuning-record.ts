import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { writeFileAtomic } from '../../node/files/files.js'
import { lockFolder } from '../../node/files/lock-folder.js'
import { makeFolder } from '../../node/files/make-folder.js'
import { OnnxIreError } from '../../util/errors.js'
import { getOwn, isObject } from '../../util/record.js'

/**
 * Options that do not change the trained weights, or name files, whose contents the checkpoint compares: a resumed run
 * may have others.
 */
const changeableOptions: readonly string[] = [
  ...['output', 'form', 'samples', 'tensorboard', 'measureEvery', 'dryRun', 'resume', 'force', 'quiet', 'json'],
  ...['threads', 'provider', 'microBatch', 'recompute', 'teacher'],
]

/** The options of a fine-tuning that decide its result, with their flags and the values given or their defaults. */
const optionsOf = (command: Command): { readonly name: string; readonly flag: string; readonly value: unknown }[] =>
  command.options
    .map((option) => ({ name: option.attributeName(), flag: option.long! }))
    .filter(({ name }) => !changeableOptions.includes(name))
    .map((option) => ({ ...option, value: command.getOptionValue(option.name) }))

const recordPath = (checkpoints: string): string => join(checkpoints, 'options.json')

/**
 * Writes the options of a new run beside its checkpoints.
 * @throws OnnxIreError `locked` if another process trains there, `io`
 */
export async function writeTuningRecord(command: Command, checkpoints: string): Promise<void> {
  await makeFolder(checkpoints)
  const unlock = await lockFolder(checkpoints)
  const values = Object.fromEntries(optionsOf(command).map(({ name, value }) => [name, value ?? null]))
  await writeFileAtomic(recordPath(checkpoints), `${JSON.stringify(values, null, 2)}\n`).finally(unlock)
}

/**
 * Compares the options of a resumed run with those that it began with. A run of an earlier version has no record of
 * them; its checkpoint compares what it contains.
 * @throws OnnxIreError `checkpoint` naming each option that differs
 */
export async function checkTuningRecord(command: Command, checkpoints: string): Promise<void> {
  const before = await readRecord(recordPath(checkpoints))
  if (!before) return
  const describe = (value: unknown) =>
    value === undefined || value === null ? 'not given' : value === true ? 'given' : String(value)
  const changes = optionsOf(command)
    .filter(({ name }) => Object.hasOwn(before, name))
    .flatMap(({ name, flag, value }) => {
      const [now, then] = [value, getOwn(before, name)].map(describe)
      return now === then ? [] : [`${flag} is ${now}, it was ${then}`]
    })
  if (changes.length === 0) return
  throw new OnnxIreError(
    'checkpoint',
    `the run in ${checkpoints} has other options: ${changes.join('; ')}. Give the same options with --resume, or start a new run with another -o`,
  )
}

async function readRecord(path: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
