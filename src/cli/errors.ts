import { type Command, CommanderError } from 'commander'
import { messageOf, OnnxIreError } from '../util/errors.js'
import { Interrupted, interruptedExitCode } from './interrupts.js'
import { type Io, writeText } from './io.js'

/** Thrown by a command that failed and has already reported it: the exit code is 1. */
export class Reported extends Error {}

/** Whether an error concerns one prompt, such as one that fills the context: others may have answers. */
export const concernsPrompt = (error: unknown): error is OnnxIreError =>
  error instanceof OnnxIreError && (error.code === 'invalid-data' || error.code === 'not-finite')

/** Reports why a command failed: as text on stderr and, with `json`, as a document on stdout. Returns the exit code. */
export function reportError(io: Io, error: unknown, json: boolean): number {
  const printError = (code: string, message: string): void => {
    if (json) writeText(io.stdout, `${JSON.stringify({ error: { code, message } }, null, 2)}\n`)
  }
  if (error instanceof Interrupted) return interruptedExitCode
  if (error instanceof Reported) return 1
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0
    // Commander has already written the message to stderr.
    printError('usage', error.message.replace(/^error: /, ''))
    return 2
  }
  if (error instanceof OnnxIreError) {
    writeText(io.stderr, `error (${error.code}): ${error.message}\n`)
    printError(error.code, error.message)
    return 1
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
  writeText(
    io.stderr,
    `error (unexpected): ${stack}\nThis is a bug in onnx-ire. Please report it with these lines and the command you ran.\n`,
  )
  printError('unexpected', messageOf(error))
  return 1
}

/** Ends a command that was called in a wrong way: prints `message` and exits with code 2. */
export const usageError = (command: Command, message: string): never =>
  command.error(`error: ${message}`, { exitCode: 2 })

/**
 * Ends a command with a usage error if one of some options is given, which would have no effect.
 * @param names names of the options, without dashes and in camel case
 * @param reason text after the option: 'is a setting of IRE: add --ire'
 */
export function refuseOptions(command: Command, names: readonly string[], reason: string): void {
  const given = command.options.find(
    (option) =>
      names.includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === 'cli',
  )
  if (given) usageError(command, `${given.long} ${reason}`)
}
