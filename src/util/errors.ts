import { limitMessage } from './printable.js'

/** Code of an error, for programs to branch on; the message is for people. */
export type ErrorCode =
  | 'invalid-model'
  | 'unsupported-operator'
  | 'not-differentiable'
  | 'invalid-shape'
  | 'external-data'
  | 'invalid-data'
  | 'invalid-recipe'
  | 'invalid-option'
  | 'not-finite'
  | 'runtime'
  | 'device-lost'
  | 'io'
  | 'locked'
  | 'checkpoint'
  | 'damaged'

/**
 * Error thrown by this library. `code` is the kind of the error; the message gives its location (operator, node, file,
 * field) and a remedy. Long names and lists in it are shortened, and control characters escaped.
 * @example
 * ```ts
 * catch (error) {
 *   if (error instanceof OnnxIreError && error.code === 'unsupported-operator') showUnsupported(error.message)
 * }
 * ```
 */
export class OnnxIreError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(limitMessage(message), options)
    this.name = 'OnnxIreError'
    this.code = code
  }
}

/** The message of what was thrown, also by code of another realm; see `builtInType`. */
export function messageOf(error: unknown): string {
  const { message } = Object(error)
  return typeof message === 'string' ? message : String(error)
}

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
