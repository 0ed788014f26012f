import { OnnxIreError } from './errors.js'

/** Runs `action`; an `OnnxIreError` that it throws gets `path` (a file, or a field of a recipe) in front of its message. */
export async function withPath<T>(path: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    throw prefixError(cause, path)
  }
}

/** The error with `path: ` in front of its message; errors that are not `OnnxIreError` are returned unchanged. */
export const prefixError = (cause: unknown, path: string): unknown =>
  cause instanceof OnnxIreError ? new OnnxIreError(cause.code, `${path}: ${cause.message}`, { cause }) : cause
