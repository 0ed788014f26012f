import { scalar } from '../../../src/ir/leaf.js'
import type { Value } from '../../../src/ir/value.js'
import type { signal } from '../../../src/op/definitions/signal.js'
import { op } from '../../../src/op/op.js'
import { type Case, type Cases, type Operand, shape } from './case.js'

const transform = (
  name: string,
  x: readonly number[],
  { length, axis, ...attributes }: { length?: number; axis?: number; inverse?: number; onesided?: number },
): Case => ({
  name,
  operands: [shape(...x)],
  build: (x) =>
    op.DFT(
      x!,
      length === undefined ? null : scalar('int64', length),
      axis === undefined ? null : scalar('int64', axis),
      attributes,
    ),
})

const frames = (name: string, x: readonly number[], build: Case['build'], ...rest: readonly Operand[]): Case => ({
  name,
  operands: [shape(...x), ...rest],
  build,
})
const step = (value: number): Value => scalar('int64', value)

export const signalCases = {
  DFT: [
    transform('real', [2, 5, 1], {}),
    transform('complex', [2, 4, 2], {}),
    transform('another axis', [3, 4, 2], { axis: 0 }),
    transform('a negative axis', [3, 4, 2, 1], { axis: -3 }),
    transform('longer', [2, 4, 2], { length: 7 }),
    transform('shorter', [2, 6, 1], { length: 4 }),
    transform('one-sided, odd', [2, 5, 1], { onesided: 1 }),
    transform('one-sided, even', [2, 6, 1], { onesided: 1, axis: 1 }),
    transform('one-sided, longer', [2, 5, 1], { onesided: 1, length: 8 }),
    transform('one-sided, shorter', [2, 6, 1], { onesided: 1, length: 5 }),
    transform('inverse', [2, 5, 2], { inverse: 1 }),
    transform('inverse of a real one', [2, 4, 1], { inverse: 1 }),
    transform('inverse, longer', [3, 2, 2], { inverse: 1, length: 5, axis: 0 }),
    transform('inverse to a real signal', [2, 4, 2], { inverse: 1, onesided: 1 }),
    transform('inverse to a real signal of odd length', [2, 4, 2], { inverse: 1, onesided: 1, length: 7 }),
    transform('inverse to a longer real signal', [2, 3, 2], { inverse: 1, onesided: 1, length: 9 }),
    transform('inverse to a shorter real signal', [2, 5, 2], { inverse: 1, onesided: 1, length: 6 }),
    {
      name: 'a length known when run',
      operands: [shape(2, 5, 1), { shape: [], dtype: 'int64', values: [6] }],
      build: (x, length) => op.DFT(x!, length!, null, { onesided: 1 }),
    },
  ],
  STFT: [
    frames('a window', [2, 11, 1], (x, window) => op.STFT(x!, step(3), window!), shape(4)),
    frames('a window and its length', [2, 10, 1], (x, window) => op.STFT(x!, step(2), window!, step(5)), shape(5)),
    frames('no window', [1, 9, 1], (x) => op.STFT(x!, step(2), null, step(4))),
    frames('all frequencies', [2, 8, 1], (x, window) => op.STFT(x!, step(4), window!, { onesided: 0 }), shape(4)),
    frames('complex', [2, 8, 2], (x) => op.STFT(x!, step(2), null, step(4), { onesided: 0 })),
    frames('no axis of parts', [2, 8], (x, window) => op.STFT(x!, step(2), window!), shape(4)),
    frames('a constant window', [1, 12, 1], (x) =>
      op.STFT(x!, step(4), op.CastLike(op.HannWindow(scalar('int64', 6)), x!)),
    ),
  ],
} satisfies Cases<typeof signal>
