import { expect } from 'vitest'
import type { ErrorCode } from '../../src/util/errors.js'

/** Matches an OnnxIreError with this code, whose message names `place`: a node, a tensor, a field or a value. */
export const errorAt = (code: ErrorCode, place: string | RegExp) =>
  expect.objectContaining({
    name: 'OnnxIreError',
    code,
    message: typeof place === 'string' ? expect.stringContaining(place) : expect.stringMatching(place),
  })
