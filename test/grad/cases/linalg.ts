import type { linalg } from '../../../src/op/definitions/linalg.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const matMul = (name: string, a: readonly number[], b: readonly number[]): Case => ({
  name: `MatMul ${name} [${a}] x [${b}]`,
  operands: [shape(...a), shape(...b)],
  build: (a, b) => op.MatMul(a!, b!),
})

const gemm = (
  name: string,
  [a, b, c]: readonly (readonly number[])[],
  attributes: Record<string, number> = {},
): Case => ({
  name: `Gemm ${name}`,
  operands: [shape(...a!), shape(...b!), ...(c ? [shape(...c)] : [])],
  build: (a, b, c) => op.Gemm(a!, b!, c ?? null, attributes),
})

const einsum = (equation: string, ...operands: readonly (readonly number[])[]): Case => ({
  name: `Einsum '${equation}' of ${operands.map((dims) => `[${dims}]`).join(' and ')}`,
  operands: operands.map((dims) => shape(...dims)),
  build: (...xs) => op.Einsum(xs, { equation }),
})

const invertible: Operand = { shape: [3, 3], values: [2, 0.3, -0.4, 0.5, 1.5, 0.2, -0.1, 0.6, -1.8] }

/** A matrix whose second row is twice the first. */
const singular: Operand = { shape: [3, 3], values: [1, -0.5, 0.8, 2, -1, 1.6, 0.5, 1.2, -1] }

export const linalgCases = {
  MatMul: [
    matMul('matrices', [2, 3], [3, 4]),
    matMul('vectors', [3], [3]),
    matMul('row vector', [3], [3, 4]),
    matMul('column vector', [2, 3], [3]),
    matMul('vector and batch', [3], [5, 3, 4]),
    matMul('batch and vector', [5, 2, 3], [3]),
    matMul('activation and weight', [5, 2, 3], [3, 4]),
    matMul('two leading axes and weight', [2, 5, 7, 3], [3, 4]),
    matMul('matrix and batch', [2, 3], [5, 3, 4]),
    matMul('batches', [5, 2, 3], [5, 3, 4]),
    matMul('repeated batch axes', [5, 1, 2, 3], [6, 3, 4]),
    matMul('batch of one', [1, 2, 3], [5, 3, 4]),
  ],
  Gemm: [
    gemm('without C', [
      [2, 3],
      [3, 4],
    ]),
    gemm('C [N]', [[2, 3], [3, 4], [4]]),
    gemm('C [M, 1]', [
      [2, 3],
      [3, 4],
      [2, 1],
    ]),
    gemm('C [1, N]', [
      [2, 3],
      [3, 4],
      [1, 4],
    ]),
    gemm('C scalar, scaled', [[2, 3], [3, 4], []], { alpha: 0.5, beta: -2 }),
    gemm(
      'C [M, N], transA',
      [
        [3, 2],
        [3, 4],
        [2, 4],
      ],
      { transA: 1, alpha: 1.5 },
    ),
    gemm('C [1], transB', [[2, 3], [4, 3], [1]], { transB: 1, beta: 0.5 }),
    gemm('transA, transB', [[3, 2], [4, 3], [4]], { transA: 1, transB: 1, alpha: 2, beta: 3 }),
  ],
  Einsum: [
    einsum('ij,jk->ik', [2, 3], [3, 4]),
    einsum('ij,jk', [2, 3], [3, 4]),
    einsum('bhid,bhjd->bhij', [2, 5, 3, 4], [2, 5, 6, 4]),
    einsum('...ij,jk->...ik', [5, 2, 3], [3, 4]),
    einsum('...ij,...jk->...ik', [5, 1, 2, 3], [1, 6, 3, 4]),
    einsum('i...,j...->...ij', [2, 6], [3, 1]),
    einsum('i...->...', [2, 3, 4]),
    einsum('abc->b', [2, 3, 4]),
    einsum('ij->ji', [2, 3]),
    einsum('i,j->ij', [2], [3]),
    einsum('ij,k->ik', [2, 3], [4]),
    einsum('i,i', [3], [3]),
    einsum('ij,jk,kl->il', [2, 3], [3, 4], [4, 5]),
    einsum('ij,jk->ik', [2, 1], [3, 4]),
    einsum('ii->i', [3, 3]),
    einsum('ii', [3, 3]),
    einsum('iii->i', [2, 2, 2]),
    einsum('iij->j', [2, 2, 3]),
    einsum('iji->ij', [2, 3, 2]),
    einsum('iijk->ij', [2, 2, 3, 4]),
    einsum('ijij->ji', [2, 3, 2, 3]),
    einsum('...ii->...i', [4, 2, 2]),
    einsum('i...i->...', [3, 4, 2, 3]),
    einsum('bii,bij->bj', [2, 3, 3], [2, 3, 4]),
    einsum('ii,i->i', [1, 1], [4]),
    einsum('ii,jj->ij', [2, 2], [3, 3]),
    einsum('iij,jjk,k->ik', [2, 2, 3], [3, 3, 4], [4]),
  ],
  Det: [shape(1, 1), shape(2, 2), shape(3, 3), shape(2, 3, 4, 4), singular].map(
    (x): Case => ({
      name: `Det [${x.shape}]${x === singular ? ', singular' : ''}`,
      float32: 'Det',
      operands: [x],
      build: (x) => op.Det(x!),
    }),
  ),
  Inverse: [
    { name: 'Inverse of a matrix', operands: [invertible], build: (x) => op.Inverse(x!) },
    {
      name: 'Inverse of a batch',
      operands: [{ shape: [2, 2, 2], values: [2, 0.3, -0.4, 1.5, 0.2, 1, -1.3, 0.4] }],
      build: (x) => op.Inverse(x!),
    },
  ],
} satisfies Cases<typeof linalg>
