import { type JsonSchema, kind, object, text, whole } from '../../util/json-schema.js'
import { type Extent, extent, type Naming, naming } from './common.js'

/**
 * A file of tokens as `onnx-ire data prepare text` makes it, for a language model: input t_i ... t_(i+n-1), labels
 * t_(i+1) ... t_(i+n). It is read where a batch needs it, so it may be larger than memory.
 */
export interface TokensSource extends Naming, Extent {
  readonly kind: 'tokens'
  readonly file: string
  /** Tokens per example. */
  readonly context: number
  /** Tokens between the beginnings of two examples. Default: `context`, so that they touch. */
  readonly stride?: number
}

export const tokensSchema: JsonSchema = object<TokensSource>(
  {
    kind: kind('tokens'),
    file: text('the path of the token file'),
    context: whole(1, 'tokens per example'),
    stride: whole(1, 'tokens between the beginnings of two examples'),
    ...naming,
    ...extent,
  },
  ['kind', 'file', 'context'],
)
