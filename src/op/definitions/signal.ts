import { addDims, axisOf, type Dim, divDims, mulDims, type Shape, subDims, unknownDim } from '../../ir/shape.js'
import type { Value } from '../../ir/value.js'
import { OnnxIreError } from '../../util/errors.js'
import { knownNumbers } from '../contents.js'
import { define, elementType, int, zero } from '../define.js'
import { lengthAt, perOutput, size } from '../flops.js'
import { carriedType } from './elementwise.js'
import { checkLengths } from './movement.js'

/** floor(n / 2) + 1: the frequencies of a real signal of length n, the others being their conjugates. */
const half = (length: Dim): Dim => addDims(divDims(length, 2), 1)

/**
 * The axis DFT transforms: -2, before the axis of real and imaginary part, unless given; undefined when known only at
 * run time.
 */
export function dftAxis(x: Value, axis: Value | null): number | undefined {
  const given = axis ? knownNumbers(axis)?.[0] : -2
  return given === undefined || (given < 0 && !x.shape) ? undefined : x.shape ? axisOf(given, x.shape.length) : given
}

const lengthIn = (length: Value): Dim => checkLengths([length.contents?.[0] ?? unknownDim()])[0]!

function transformedShape(
  x: Value,
  length: Value | null,
  axis: Value | null,
  inverse: number,
  onesided: number,
): Shape | undefined {
  if (!x.shape) return undefined
  const parts = x.shape.at(-1)
  if (x.shape.length < 2 || (typeof parts === 'number' && parts !== 1 && parts !== 2))
    throw new OnnxIreError(
      'invalid-shape',
      'a signal needs a last axis of length 1 (real) or 2 (real and imaginary part)',
    )
  if (onesided && !inverse && parts === 2)
    throw new OnnxIreError('invalid-shape', 'the one-sided transform takes real signals (a last axis of length 1)')
  const at = dftAxis(x, axis)
  if (at === undefined) return [...x.shape.slice(0, -1).map(unknownDim), onesided && inverse ? 1 : 2]
  if (at === x.shape.length - 1)
    throw new OnnxIreError('invalid-shape', 'the last axis holds real and imaginary part: it is not transformed')
  const own = x.shape[at]!
  const whole = length ? lengthIn(length) : onesided && inverse ? checkLengths([subDims(mulDims(own, 2), 2)])[0]! : own
  return [...x.shape.with(at, onesided && !inverse ? half(whole) : whole).slice(0, -1), onesided && inverse ? 1 : 2]
}

/** The length of one frame of STFT. */
const frameLengthOf = (window: Value | null, frameLength: Value | null): Dim => {
  if (!window && !frameLength) throw new OnnxIreError('invalid-model', 'needs a window or a frame_length')
  return window ? (window.shape?.[0] ?? unknownDim()) : lengthIn(frameLength!)
}

function spectrogramShape(signal: Value, step: Value, frame: Dim, onesided: number): Shape {
  const { shape } = signal
  if (shape && shape.length !== 2 && shape.length !== 3)
    throw new OnnxIreError('invalid-shape', 'needs a signal [batch, length] or [batch, length, 1 or 2]')
  const hop = lengthIn(step)
  if (hop === 0) throw new OnnxIreError('invalid-shape', 'a frame_step of 0')
  const length = shape?.[1] ?? unknownDim()
  const frames = addDims(divDims(subDims(length, frame), hop), 1)
  if (typeof frames === 'number' && frames < 1)
    throw new OnnxIreError('invalid-shape', `frames of ${frame} samples are longer than the signal of ${length}`)
  return [shape?.[0] ?? unknownDim(), frames, onesided ? half(frame) : frame, 2]
}

const window = (operations: number) =>
  define({
    inputs: ['size'],
    attributes: { output_datatype: elementType(1), periodic: int(1) },
    since: 17,
    hostInputs: ['size'],
    enlarges: true,
    flops: perOutput(operations),
    gradient: zero('a constant of its size'),
    infer: ({ inputs: [size], attributes: { output_datatype } }) => ({
      dtype: carriedType(output_datatype),
      shape: [lengthIn(size)],
    }),
  })

/** A fast Fourier transform of n numbers: 5 n log2 n, the usual count by which transforms are compared. */
const fftFlops = (n: number): number => 5 * n * Math.log2(Math.max(n, 2))

function dftFlops(x: Value, length: Value | null, axis: Value | null): number {
  const at = axis ? (knownNumbers(axis)?.[0] ?? Number.NaN) : -2
  const points = length ? (knownNumbers(length)?.[0] ?? Number.NaN) : lengthAt(x, at)
  return (size(x) / lengthAt(x, at) / lengthAt(x, -1)) * fftFlops(points)
}

function stftFlops(window: Value | null, length: Value | null, y: Value): number {
  const points = window ? lengthAt(window, 0) : (knownNumbers(length)?.[0] ?? Number.NaN)
  return (size(y) / lengthAt(y, -1) / lengthAt(y, -2)) * (fftFlops(points) + (window ? points : 0))
}

/**
 * Fourier transforms and related operators; complex numbers are a last axis of length 2. onnxruntime 1.30 computes two
 * forms differently from the specification, which their gradients follow: DFT with inverse = 1 and onesided = 1 if the
 * number of frequencies is not that of dft_length, and STFT of a complex signal with a window.
 */
export const signal = {
  DFT: define({
    inputs: ['x', 'dft_length?', 'axis?'],
    attributes: { inverse: int(0), onesided: int(0) },
    since: 20,
    flops: ([x, length, axis]) => dftFlops(x, length, axis),
    infer: ({ inputs: [x, length, axis], attributes: { inverse, onesided } }) => ({
      dtype: x.dtype,
      shape: transformedShape(x, length, axis, inverse, onesided),
    }),
  }),
  STFT: define({
    inputs: ['signal', 'frame_step', 'window?', 'frame_length?'],
    attributes: { onesided: int(1) },
    since: 17,
    flops: ([, , window, length], [y]) => stftFlops(window, length, y!),
    infer: ({ inputs: [signal, step, window, frameLength], attributes: { onesided } }) => ({
      dtype: signal.dtype,
      shape: spectrogramShape(signal, step, frameLengthOf(window, frameLength), onesided),
    }),
  }),
  HannWindow: window(4),
  HammingWindow: window(4),
  BlackmanWindow: window(8),
  MelWeightMatrix: define({
    inputs: ['num_mel_bins', 'dft_length', 'sample_rate', 'lower_edge_hertz', 'upper_edge_hertz'],
    attributes: { output_datatype: elementType(1) },
    since: 17,
    gradient: zero('a filter bank whose edges are rounded to frequencies'),
    configInputs: ['lower_edge_hertz', 'upper_edge_hertz'],
    flops: perOutput(4),
    infer: ({ inputs: [bins, length], attributes: { output_datatype } }) => ({
      dtype: carriedType(output_datatype),
      shape: [half(lengthIn(length)), lengthIn(bins)],
    }),
  }),
}
