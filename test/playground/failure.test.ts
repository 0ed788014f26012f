import { expect, it } from 'vitest'
import { OnnxIreError } from '../../src/util/errors.js'
import { toFailure } from '../../tools/playground/worker/failure.js'

const full = [
  new RangeError('Array buffer allocation failed'),
  new RangeError('Invalid typed array length: 99999999999'),
  new WebAssembly.RuntimeError('memory access out of bounds'),
  new OnnxIreError(
    'runtime',
    'onnxruntime could not run the model: it failed within WebAssembly (1234); out of memory is the likely cause',
  ),
  new OnnxIreError(
    'runtime',
    "onnxruntime rejected the model: Can't create a session. ERROR_CODE: 6, ERROR_MESSAGE: std::bad_alloc",
  ),
  new OnnxIreError(
    'runtime',
    'onnxruntime could not run the model: Failed to allocate memory for requested buffer of size 1099511627776',
  ),
  new RangeError(
    "Failed to execute 'createBuffer' on 'GPUDevice': createBuffer failed, size (9999999999) is too large for the implementation when mappedAtCreation == true",
  ),
]

it.each(full)('out of memory > %s > shows that the memory is full', (error) => {
  const { code, message } = toFailure(error)
  expect(code).toBe('out-of-memory')
  expect(message).toMatch(/^The memory is full: take a smaller batch, smaller images or a smaller model\. \(/)
  expect(message).toContain(error.message)
})

it('other errors > shows their message', () => {
  const refused = new OnnxIreError('invalid-model', 'notes.onnx: this is no model')
  expect(toFailure(refused)).toEqual({ code: 'invalid-model', message: refused.message })
  expect(toFailure(new TypeError('x is undefined'))).toEqual({ code: 'unexpected', message: 'x is undefined' })
  expect(toFailure('a text')).toEqual({ code: 'unexpected', message: 'a text' })
  expect(toFailure(new OnnxIreError('device-lost', 'the WebGPU device was lost')).message).toMatch(/^The GPU was lost/)
})
