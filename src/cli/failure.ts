import { CommanderError } from 'commander'
import { OnnxIreError } from '../util/errors.js'

/** Tells people on stderr, and programs that asked for JSON on stdout, why a command failed. Returns the exit code. */
export function report(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0
    // Commander has told people already.
    if (json) printError('usage', error.message.replace(/^error: /, ''))
    return 2
  }
  if (error instanceof OnnxIreError) {
    process.stderr.write(`error (${error.code}): ${error.message}\n`)
    if (json) printError(error.code, error.message)
    return 1
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(
    `error (unexpected): ${stack}\nThis is a fault of onnx-ire: please report it with these lines and the command you ran.\n`,
  )
  if (json) printError('unexpected', error instanceof Error ? error.message : String(error))
  return 1
}

const printError = (code: string, message: string): void => {
  process.stdout.write(`${JSON.stringify({ error: { code, message } }, null, 2)}\n`)
}
