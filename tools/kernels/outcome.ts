import type { Tensor } from '../../src/ir/tensor.js'

/** Outcome of a form in a runtime; other outcomes are `fails: ` and a message. */
export const outcomes = {
  runs: 'runs',
  /** Runs only after lowering by `src/lowering`. */
  lowered: 'runs lowered',
  /** WebGPU provider only: onnxruntime runs the node on the CPU and copies its inputs and outputs. */
  fallsBack: 'runs on the CPU',
  noKernel: 'no kernel',
  /** ONNX does not define the operator for this type. */
  noType: 'not a type of it',
  /** Completed with a result other than that of the CPU. */
  wrong: 'wrong result',
} as const

const noKernel = /Could not find an implementation|NOT_IMPLEMENTED|does not support double/
const fallsBack = /fallback to CPU EP has been explicitly disabled/
const noType = /Type Error: Type .* is invalid/

/** Prefixes of the reason in a message: of the web build, the node, the C++ function. */
const beforeReason = [
  /^Can't create a session\. ERROR_CODE: \d+, ERROR_MESSAGE: /,
  /^failed to call OrtRun\(\)\. ERROR_CODE: \d+, ERROR_MESSAGE: /,
  /^Non-zero status code returned while running \w+ node\. Name:'[^']*' Status Message:\s*/,
  /^Exception during initialization:\s*/,
  /^\S+\.(?:cc|h):\d+ (?:.*?\w\([^)]*\)(?: const)? |\w+ )/,
]

/** Converts an error of onnxruntime to an outcome. */
export function toOutcome(message: string): string {
  if (noKernel.test(message)) return outcomes.noKernel
  if (noType.test(message)) return outcomes.noType
  if (fallsBack.test(message)) return outcomes.fallsBack
  const spaced = message.replaceAll(/\s+/g, ' ').trim()
  const reason = beforeReason.reduce((text, before) => text.replace(before, ''), spaced)
  return `fails: ${reason.length > 120 ? `${reason.slice(0, 117)}...` : reason}`
}

/** Tolerance for rounding and for GPU functions; sine has an error of 2e-4. */
const tolerance = 1e-3

/** Whether results equal those of the CPU; for an open form, in types and shapes only. */
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
