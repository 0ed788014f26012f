import { define, int, zero } from '../define.js'

/** Operators of onnxruntime that combine several of ONNX in one kernel. Only lowerings use them. */
export const fused = {
  /** a b^T for stacks of matrices of equal length: [..., m, k] and [..., n, k] give [..., m, n]. */
  FusedMatMul: define({
    inputs: ['a', 'b'],
    attributes: { transB: int.required },
    domain: 'com.microsoft',
    since: 1,
    gradient: zero('a lowering creates it, after differentiation'),
    flops: () => 0,
    infer: ({ inputs: [a, b] }) => ({
      dtype: a.dtype,
      shape: a.shape && b.shape && [...a.shape.slice(0, -1), b.shape.at(-2)!],
    }),
  }),
}
