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
 * field) and a remedy.
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
    super(message, options)
    this.name = 'OnnxIreError'
    this.code = code
  }
}
