import { withBodies } from '../ir/topology.js'
import type { Value } from '../ir/value.js'
import { needed } from '../needed.js'
import type { Model } from '../onnx/model.js'
import type { Operators } from '../onnx/operators.js'
import { operatorNodes, qualified } from '../onnx/unsupported.js'
import basic from './basic.js'
import { joined } from './family.js'

interface Listed {
  readonly load: () => Promise<{ readonly default: Operators }>
  /** Of ai.onnx, of com.microsoft and of ai.onnx.preview.training. */
  readonly onnx?: string
  readonly microsoft?: string
  readonly training?: string
}

/**
 * Which operators each family is loaded for: its own, those of old that become one of its own, and those of others that are
 * written in its own, or whose gradients are. An operator may be listed more than once.
 */
const families: readonly Listed[] = [
  {
    load: () => import('./convolution.js'),
    onnx: 'Conv ConvTranspose AveragePool LpPool LRN Col2Im MaxUnpool',
    microsoft: 'FusedConv',
  },
  {
    load: () => import('./pooling.js'),
    onnx: 'MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool Col2Im MaxUnpool LRN',
  },
  {
    load: () => import('./normalization.js'),
    onnx: `BatchNormalization LayerNormalization RMSNormalization InstanceNormalization GroupNormalization LRN
      LpNormalization MeanVarianceNormalization SimplifiedLayerNormalization`,
    microsoft: `SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization
      EmbedLayerNormalization`,
  },
  { load: () => import('./resize.js'), onnx: 'Resize Upsample' },
  { load: () => import('./sampling.js'), onnx: 'GridSample AffineGrid DeformConv RoiAlign MaxRoiPool' },
  { load: () => import('./signal.js'), onnx: 'DFT STFT HannWindow HammingWindow BlackmanWindow MelWeightMatrix' },
  { load: () => import('./text.js'), onnx: 'StringNormalizer StringConcat StringSplit RegexFullMatch TfIdfVectorizer' },
  { load: () => import('./control.js'), onnx: 'If Loop Scan RNN GRU LSTM' },
  { load: () => import('./recurrent.js'), onnx: 'RNN GRU LSTM' },
  {
    load: () => import('./quantization.js'),
    onnx: 'QuantizeLinear DequantizeLinear DynamicQuantizeLinear ConvInteger MatMulInteger QLinearConv QLinearMatMul',
    microsoft: 'QuantizeLinear DequantizeLinear MatMulNBits GatherBlockQuantized',
  },
  {
    load: () => import('./attention.js'),
    onnx: 'Attention RotaryEmbedding',
    microsoft: 'Attention MultiHeadAttention GroupQueryAttention RotaryEmbedding',
  },
  {
    load: () => import('./selection.js'),
    onnx: `GatherND ScatterND TensorScatter Compress OneHot Unique NonMaxSuppression ReverseSequence RNN GRU LSTM`,
  },
  {
    load: () => import('./sequence.js'),
    onnx: `SequenceConstruct SequenceEmpty SplitToSequence SequenceAt SequenceInsert SequenceErase SequenceLength
      ConcatFromSequence`,
  },
  { load: () => import('./training.js'), training: 'Gradient Adam Adagrad Momentum' },
  { load: () => import('./microsoft-activation.js'), microsoft: 'Gelu BiasGelu FastGelu QuickGelu' },
  { load: () => import('./microsoft-linalg.js'), microsoft: 'FusedMatMul TransposeMatMul FusedGemm FusedConv' },
  {
    load: () => import('./microsoft-normalization.js'),
    onnx: 'SimplifiedLayerNormalization',
    microsoft: `SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization
      EmbedLayerNormalization`,
  },
  {
    load: () => import('./microsoft-attention.js'),
    microsoft: 'Attention MultiHeadAttention GroupQueryAttention RotaryEmbedding',
  },
]

const words = (text: string, domain = ''): string[] => (text.match(/\S+/g) ?? []).map((name) => domain + name)

const namesOf = ({ onnx = '', microsoft = '', training = '' }: Listed): string[] => [
  ...words(onnx),
  ...words(microsoft, 'com.microsoft.'),
  ...words(training, 'ai.onnx.preview.training.'),
]

/** What is known of the operators of these names (`Conv`, `com.microsoft.FusedConv`); the families they need are loaded. */
export async function operatorsNamed(names: Iterable<string>): Promise<Operators> {
  const asked = new Set(names)
  const listed = families.filter((family) => namesOf(family).some((name) => asked.has(name)))
  const loaded = await Promise.all(listed.map(async ({ load }) => (await needed(load())).default))
  return joined([basic, ...loaded])
}

/** Of those a model is made of. */
export const operatorsOf = (model: Model): Promise<Operators> =>
  operatorsNamed([...operatorNodes(model.proto)].map(qualified))

/** Of those that values are computed by, which a loss may have added to a model's. */
export const operatorsBehind = (values: Iterable<Value>): Promise<Operators> =>
  operatorsNamed(withBodies(values).map(({ domain, operator }) => (domain ? `${domain}.${operator}` : operator)))
