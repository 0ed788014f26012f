import { broadcastShapes, unknownDim } from '../../ir/shape.js'
import { define, floats, int, ints, string, strings, zero } from '../define.js'
import { noFlops } from '../flops.js'

const text = zero('text')

/** Operators on strings, and TfIdfVectorizer, which counts them. */
export const textual = {
  StringNormalizer: define({
    inputs: ['x'],
    attributes: {
      case_change_action: string('NONE'),
      is_case_sensitive: int(0),
      locale: string.optional,
      stopwords: strings.optional,
    },
    since: 10,
    gradient: text,
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { stopwords } }) => ({
      dtype: 'string',
      shape: stopwords?.length
        ? x.shape?.map((dim, axis, all) => (axis === all.length - 1 ? unknownDim() : dim))
        : x.shape,
    }),
  }),
  StringConcat: define({
    inputs: ['x', 'y'],
    since: 20,
    gradient: text,
    flops: noFlops,
    infer: ({ inputs: [x, y] }) => ({ dtype: 'string', shape: broadcastShapes([x.shape, y.shape]) }),
  }),
  StringSplit: define({
    inputs: ['x'],
    outputs: ['y', 'lengths'],
    attributes: { delimiter: string.optional, maxsplit: int.optional },
    since: 20,
    gradient: text,
    flops: noFlops,
    infer: ({ inputs: [x] }) => [
      { dtype: 'string', shape: x.shape && [...x.shape, unknownDim()] },
      { dtype: 'int64', shape: x.shape },
    ],
  }),
  RegexFullMatch: define({
    inputs: ['x'],
    attributes: { pattern: string.optional },
    since: 20,
    gradient: zero('booleans'),
    flops: noFlops,
    infer: ({ inputs: [x] }) => ({ dtype: 'bool', shape: x.shape }),
  }),
  TfIdfVectorizer: define({
    inputs: ['x'],
    attributes: {
      max_gram_length: int.required,
      max_skip_count: int.required,
      min_gram_length: int.required,
      mode: string.required,
      ngram_counts: ints.required,
      ngram_indexes: ints.required,
      pool_int64s: ints.optional,
      pool_strings: strings.optional,
      weights: floats.optional,
    },
    since: 9,
    acceptsInt32: true,
    gradient: zero('counts of words, which are integers or text'),
    flops: noFlops,
    infer: ({ inputs: [x], attributes: { ngram_indexes } }) => ({
      dtype: 'float32',
      shape: x.shape && [...x.shape.slice(0, -1), ngram_indexes.reduce((a, b) => Math.max(a, b), -1) + 1],
    }),
  }),
}
