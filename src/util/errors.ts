/** Why something was refused, for programs to branch on; the message is for people. */
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
  | 'checkpoint'
  | 'damaged'

/**
 * Every error this library raises on purpose. `code` says what kind it is; the message says where
 * (operator, node, file, field) and what to do about it.
 */
export class OnnxIreError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'OnnxIreError'
    this.code = code
  }
}
