import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { findHolder } from '../../node/files/lock-folder.js'
import { findUnusedData } from '../../node/files/model.js'
import { OnnxIreError } from '../../util/errors.js'

/** Names in a run folder that belong to the run. */
const isOfRun = (name: string): boolean =>
  /^((recipe|run|classes|flatness)\.json|metrics\.jsonl|checkpoints|(start|tuned)\.onnx(\.(\d+\.)?data)?)$/.test(name)

const replacedName = /^replaced-(\d+)$/
const recipeName = 'recipe.json'

/**
 * Names of the files and folders of the run in a folder, without data files that another model in the folder names,
 * such as a copy of the trained model. The recipe is the last one.
 */
export async function listRun(folder: string): Promise<string[]> {
  const names = (await readdir(folder).catch((): string[] => [])).filter(isOfRun)
  const data = names.filter((name) => name.endsWith('.data'))
  const unused = await findUnusedData(folder, data, names)
  const own = names.filter((name) => !data.includes(name) || unused.includes(name))
  return own.toSorted((a, b) => Number(a === recipeName) - Number(b === recipeName))
}

/** Moves the run in a folder to a new folder `replaced-<n>` in it, and returns the path of that folder. */
export async function moveRunAside(folder: string): Promise<string> {
  const aside = join(folder, `replaced-${(await newestNumber(folder)) + 1}`)
  await explain(`cannot move the run in ${folder} aside`, async () => {
    await mkdir(aside)
    // The recipe first: a folder without one holds the rest of a run of which a killed process moved a part.
    await moveRun(folder, aside, (await listRun(folder)).toReversed())
  })
  return aside
}

/** The largest n of the folders `replaced-<n>` in a folder; 0 without one. */
async function newestNumber(folder: string): Promise<number> {
  return Math.max(0, ...(await readdir(folder)).map((name) => Number(replacedName.exec(name)?.[1] ?? 0)))
}

/** Path of the run that was moved aside last; undefined if there is none. */
export async function findReplacedRun(folder: string): Promise<string | undefined> {
  const number = await newestNumber(folder)
  return number === 0 ? undefined : join(folder, `replaced-${number}`)
}

/** Moves a run back from the folder `aside`, over whatever another run has left. */
export async function restoreRun(folder: string, aside: string): Promise<void> {
  await explain(`cannot restore the run in ${aside}`, async () => {
    if (existsSync(join(folder, recipeName))) await removeRun(folder)
    await moveRun(aside, folder, await listRun(aside))
    await rmdir(aside)
  })
}

/** Removes all runs that were moved aside, and leaves other files in their folders. */
export async function removeReplacedRuns(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => replacedName.test(name))
  for (const name of names) {
    await removeRun(join(folder, name))
    await rmdir(join(folder, name)).catch(() => {})
  }
}

/** Removes the runs in `fold-<i>` of a folder from number `count` on, unless a process trains in them. */
export async function removeFolds(folder: string, count: number): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    if (!(Number(/^fold-(\d+)$/.exec(name)?.[1]) >= count) || (await findHolder(path))) continue
    await removeReplacedRuns(path)
    await removeRun(path)
    await rmdir(path).catch(() => {})
  }
}

async function moveRun(from: string, to: string, names: readonly string[]): Promise<void> {
  for (const name of names) await rename(join(from, name), join(to, name))
}

async function removeRun(folder: string): Promise<void> {
  for (const name of await listRun(folder)) await rm(join(folder, name), { recursive: true })
}

async function explain(what: string, action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (cause) {
    throw new OnnxIreError('io', `${what}: ${(cause as Error).message}`, { cause })
  }
}
