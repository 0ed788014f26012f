import type { Tensor } from '../../src/ir/tensor.js'

/** What became of a form in a runtime; anything else is `fails: ` and a message. */
export const outcomes = {
  runs: 'runs',
  /** In the operators that `src/lowering` writes in its place, and in no other way. */
  lowered: 'runs lowered',
  /** Of the WebGPU provider: onnxruntime gives the node to the CPU, and copies what it takes and gives. */
  fallsBack: 'runs on the CPU',
  noKernel: 'no kernel',
  /** ONNX does not have the operator for this type. */
  noType: 'not a type of it',
  /** Ran to the end, with another result than the CPU. */
  wrong: 'wrong result',
} as const

const noKernel = /Could not find an implementation|NOT_IMPLEMENTED|does not support double/
const fallsBack = /fallback to CPU EP has been explicitly disabled/
const noType = /Type Error: Type .* is invalid/

/** What stands before the reason: what the web build adds, the node, the C++ function. */
const beforeReason = [
  /^Can't create a session\. ERROR_CODE: \d+, ERROR_MESSAGE: /,
  /^failed to call OrtRun\(\)\. ERROR_CODE: \d+, ERROR_MESSAGE: /,
  /^Non-zero status code returned while running \w+ node\. Name:'[^']*' Status Message:\s*/,
  /^Exception during initialization:\s*/,
  /^\S+\.(?:cc|h):\d+ (?:.*?\w\([^)]*\)(?: const)? |\w+ )/,
]

/** An error of onnxruntime as an outcome. */
export function outcomeOf(message: string): string {
  if (noKernel.test(message)) return outcomes.noKernel
  if (noType.test(message)) return outcomes.noType
  if (fallsBack.test(message)) return outcomes.fallsBack
  const spaced = message.replaceAll(/\s+/g, ' ').trim()
  const reason = beforeReason.reduce((text, before) => text.replace(before, ''), spaced)
  return `fails: ${reason.length > 120 ? `${reason.slice(0, 117)}...` : reason}`
}

/** Rounding, and the functions of a GPU, whose sine is right to 2e-4. */
const tolerance = 1e-3

/** Whether a runtime gave what the CPU gave; of an open form, in types and shapes. */
export const agrees = (outputs: readonly Tensor[], expected: readonly Tensor[], open: boolean): boolean =>
  outputs.every(({ dtype, dims, data }, i) => {
    const right = expected[i]!
    return (
      dtype === right.dtype &&
      dims.join() === right.dims.join() &&
      (open || [...data].every((value, k) => near(value, right.data[k]!)))
    )
  })

function near(a: number | bigint | string, b: number | bigint | string): boolean {
  if (typeof a === 'string' || typeof b === 'string' || Object.is(a, b)) return a === b || Object.is(a, b)
  const [x, y] = [Number(a), Number(b)]
  return Object.is(x, y) || x === y || Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(y))
}
