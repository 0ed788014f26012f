import type { generation } from '../../../src/op/definitions/generation.js'
import { op } from '../../../src/op/op.js'
import { type Cases, shape } from './case.js'

export const generationCases = {
  Dropout: [
    { name: 'Dropout at rest', operands: [shape(2, 3)], build: (x) => op.Dropout(x, 0.3)[0] },
    { name: 'Dropout without a ratio', operands: [shape(2, 3)], build: (x) => op.Dropout(x)[0] },
    {
      name: 'Dropout at rest by an input',
      operands: [shape(2, 3), { shape: [], dtype: 'bool', values: [0] }],
      build: (x, training) => op.Dropout(x, 0.3, training)[0],
    },
  ],
} satisfies Cases<typeof generation>
