import * as ort from 'onnxruntime-node'
import { expect, it } from 'vitest'
import { tensor } from '../../src/ir/tensor.js'
import { InputBuffers } from '../../src/node/runtime/local-engine.js'
import { sharedFloats } from '../runtime/samples.js'

const bufferOf = ({ data }: ort.Tensor) => (data as Float32Array).buffer

it('input buffers > one per input name, grows only, released with its last program', () => {
  const buffers = new InputBuffers()
  const feed = (name: string, ...values: number[]) => {
    const fed = buffers.feed(ort, name, sharedFloats(...values))
    expect(Array.from(fed.data as Float32Array)).toEqual(values)
    return bufferOf(fed)
  }
  const first = feed('w', 1, 2, 3)
  expect(first).toBeInstanceOf(ArrayBuffer)
  expect(feed('w', 4, 5, 6)).toBe(first)
  expect(feed('w', 7)).toBe(first)
  expect(feed('v', 1, 2, 3)).not.toBe(first)
  const grown = feed('w', 1, 2, 3, 4)
  expect(grown).not.toBe(first)
  buffers.keepOnly(new Set(['w']))
  expect(feed('w', 1)).toBe(grown)
  buffers.keepOnly(new Set(['v']))
  expect(feed('w', 1)).not.toBe(grown)
})

it('unshared inputs > are fed unchanged', () => {
  const data = Float32Array.of(1, 2)
  expect(new InputBuffers().feed(ort, 'w', tensor('float32', [2], data)).data).toBe(data)
})
