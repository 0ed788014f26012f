import { expect } from 'vitest'
import { type ErrorCode, OnnxIreError } from '../src/util/errors.js'

/** Message of the error with this code that `action` throws. */
export function thrownMessage(code: ErrorCode, action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return messageOf(code, error)
  }
  throw new Error(`expected an error with the code '${code}', but nothing was thrown`)
}

/** Message of the error with this code that the promise of `action` rejects with. */
export async function rejectedMessage(code: ErrorCode, action: () => Promise<unknown>): Promise<string> {
  try {
    await action()
  } catch (error) {
    return messageOf(code, error)
  }
  throw new Error(`expected an error with the code '${code}', but nothing was thrown`)
}

/** Matcher for `toThrow`: an error with this code whose message contains `text`, such as the field and its value. */
export const errorWith = (code: ErrorCode, text: string) =>
  expect.objectContaining({ code, message: expect.stringContaining(text) })

function messageOf(code: ErrorCode, error: unknown): string {
  if (error instanceof OnnxIreError && error.code === code) return error.message
  throw error
}
