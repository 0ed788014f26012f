import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Python environments of the tools, by name: `torch` serves tools/bench and tools/torch, `jax` serves tools/bench,
 * `language` serves tools/language, `tensorboard` serves tools/trackers. The file NAME.txt next to this one pins the
 * packages.
 */
export const environments = ['torch', 'jax', 'language', 'tensorboard'] as const
export type Environment = (typeof environments)[number]

/** Folder that holds the environments: $ONNX_IRE_PYTHON, else onnx-ire in the user's cache folder. */
export const environmentsFolder = (variables: NodeJS.ProcessEnv = process.env): string =>
  variables['ONNX_IRE_PYTHON'] || join(variables['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'onnx-ire')

/** Interpreter of an environment. */
export const pythonOf = (name: Environment, folder = environmentsFolder()): string =>
  join(folder, name, 'bin', 'python')

/** Command that installs environments. */
export const installCommand = (...names: Environment[]): string => `npm run python -- ${names.join(' ')}`

const listOf = (name: Environment) => fileURLToPath(new URL(`${name}.txt`, import.meta.url))

/** Copy of the list that an environment was installed from, written after the installation. */
const installedList = (name: Environment, folder: string) => join(folder, name, 'installed.txt')

/** Whether the environment has the packages of today's list. */
export function isInstalled(name: Environment, folder = environmentsFolder()): boolean {
  const list = installedList(name, folder)
  return existsSync(list) && readFileSync(list, 'utf8') === readFileSync(listOf(name), 'utf8')
}

/** Creates an environment with the interpreter `python`, or brings an existing one to the pinned versions. */
export function install(name: Environment, python: string, folder = environmentsFolder()): void {
  const run = (file: string, ...args: string[]) => execFileSync(file, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (!existsSync(pythonOf(name, folder))) run(python, '-m', 'venv', join(folder, name))
  run(pythonOf(name, folder), '-m', 'pip', 'install', '--disable-pip-version-check', '--requirement', listOf(name))
  copyFileSync(listOf(name), installedList(name, folder))
}
