import { OnnxIreError } from '../../src/util/errors.js'

/** The message of the error with this code that `action` throws. */
export function refusal(code: string, action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return messageOf(code, error)
  }
  throw new Error(`nothing was refused, but ${code} was expected`)
}

export async function rejection(code: string, action: () => Promise<unknown>): Promise<string> {
  try {
    await action()
  } catch (error) {
    return messageOf(code, error)
  }
  throw new Error(`nothing was refused, but ${code} was expected`)
}

function messageOf(code: string, error: unknown): string {
  if (error instanceof OnnxIreError && error.code === code) return error.message
  throw error
}
