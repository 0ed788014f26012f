import { type ErrorCode, OnnxIreError } from './errors.js'

/**
 * Runs `action`; an `OnnxIreError` that it throws gets `path` (a file, or a field of a recipe) in front of its message.
 */
export async function withPath<T>(path: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    throw prefixError(cause, path)
  }
}

/**
 * An error with `path: ` in front of its message. Errors other than `OnnxIreError` are returned unchanged.
 * @param code only errors of this code are changed
 */
export const prefixError = (cause: unknown, path: string, code?: ErrorCode): unknown =>
  cause instanceof OnnxIreError && (code === undefined || cause.code === code)
    ? new OnnxIreError(cause.code, `${path}: ${cause.message}`, { cause })
    : cause
