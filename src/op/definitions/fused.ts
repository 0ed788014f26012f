import { define, int, zero } from '../define.js'

/** Operators of onnxruntime that combine several of ONNX in one kernel. Only lowerings use them. */
export const fused = {
  /** Products of equally many matrices [..., m, k] and [..., k, n], which transA and transB read transposed. */
  FusedMatMul: define({
    inputs: ['a', 'b'],
    attributes: { transA: int(0), transB: int(0) },
    domain: 'com.microsoft',
    since: 1,
    gradient: zero('a lowering creates it, after differentiation'),
    flops: () => 0,
    infer: ({ inputs: [a, b], attributes: { transA, transB } }) => ({
      dtype: a.dtype,
      shape: a.shape &&
        b.shape && [...a.shape.slice(0, -2), a.shape.at(transA ? -1 : -2)!, b.shape.at(transB ? -2 : -1)!],
    }),
  }),
}
