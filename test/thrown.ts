import { expect } from 'vitest'
import { type ErrorCode, OnnxIreError } from '../src/util/errors.js'

/** The error of this library that `action` throws. */
export function thrownError(action: () => unknown): OnnxIreError {
  try {
    action()
  } catch (error) {
    return ofLibrary(error)
  }
  throw new Error('expected an error, but nothing was thrown')
}

/** The error of this library that `action` throws, or that its promise rejects with. */
export async function rejectedError(action: () => unknown): Promise<OnnxIreError> {
  try {
    await action()
  } catch (error) {
    return ofLibrary(error)
  }
  throw new Error('expected an error, but nothing was thrown')
}

/** Message of the error with this code that `action` throws. */
export const thrownMessage = (code: ErrorCode, action: () => unknown): string => messageOf(code, thrownError(action))

/** Message of the error with this code that `action` throws, or that its promise rejects with. */
export const rejectedMessage = async (code: ErrorCode, action: () => Promise<unknown>): Promise<string> =>
  messageOf(code, await rejectedError(action))

/** Matcher for `toThrow`: an error with this code whose message contains `text`, such as the field and its value. */
export const errorWith = (code: ErrorCode, text: string) =>
  expect.objectContaining({ code, message: expect.stringContaining(text) })

function ofLibrary(error: unknown): OnnxIreError {
  if (error instanceof OnnxIreError) return error
  throw error
}

function messageOf(code: ErrorCode, error: OnnxIreError): string {
  if (error.code === code) return error.message
  throw error
}
