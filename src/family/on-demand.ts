import { withBodies } from '../ir/topology.js'
import type { Value } from '../ir/value.js'
import type { Model } from '../onnx/model.js'
import type { Operators } from '../onnx/operators.js'
import { operatorNodes, qualified } from '../onnx/unsupported.js'
import basic from './basic.js'
import { joined } from './family.js'

type Load = () => Promise<{ readonly default: Operators }>

/**
 * Which operators each family is loaded for: its own, those of old that become one of its own, and those of others that are
 * written in its own, or whose gradients are. An operator may be of several.
 */
const families: readonly (readonly [names: string, load: Load])[] = [
  [
    'Conv ConvTranspose AveragePool LpPool LRN Col2Im MaxUnpool com.microsoft.FusedConv',
    () => import('./convolution.js'),
  ],
  [
    'MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool Col2Im MaxUnpool LRN',
    () => import('./pooling.js'),
  ],
  [
    'BatchNormalization LayerNormalization RMSNormalization InstanceNormalization GroupNormalization LRN LpNormalization MeanVarianceNormalization SimplifiedLayerNormalization com.microsoft.SimplifiedLayerNormalization com.microsoft.SkipLayerNormalization com.microsoft.SkipSimplifiedLayerNormalization com.microsoft.EmbedLayerNormalization',
    () => import('./normalization.js'),
  ],
  ['Resize Upsample', () => import('./resize.js')],
  ['GridSample AffineGrid DeformConv RoiAlign MaxRoiPool', () => import('./sampling.js')],
  ['DFT STFT HannWindow HammingWindow BlackmanWindow MelWeightMatrix', () => import('./signal.js')],
  ['StringNormalizer StringConcat StringSplit RegexFullMatch TfIdfVectorizer', () => import('./text.js')],
  ['If Loop Scan RNN GRU LSTM', () => import('./control.js')],
  ['RNN GRU LSTM', () => import('./recurrent.js')],
  [
    'QuantizeLinear DequantizeLinear DynamicQuantizeLinear ConvInteger MatMulInteger QLinearConv QLinearMatMul com.microsoft.QuantizeLinear com.microsoft.DequantizeLinear com.microsoft.MatMulNBits com.microsoft.GatherBlockQuantized',
    () => import('./quantization.js'),
  ],
  [
    'Attention RotaryEmbedding com.microsoft.Attention com.microsoft.MultiHeadAttention com.microsoft.GroupQueryAttention com.microsoft.RotaryEmbedding',
    () => import('./attention.js'),
  ],
  [
    'SequenceConstruct SequenceEmpty SplitToSequence SequenceAt SequenceInsert SequenceErase SequenceLength ConcatFromSequence',
    () => import('./sequence.js'),
  ],
  [
    'ai.onnx.preview.training.Adam ai.onnx.preview.training.Adagrad ai.onnx.preview.training.Momentum',
    () => import('./training.js'),
  ],
  [
    'com.microsoft.Gelu com.microsoft.BiasGelu com.microsoft.FastGelu com.microsoft.QuickGelu',
    () => import('./microsoft-activation.js'),
  ],
  [
    'com.microsoft.FusedMatMul com.microsoft.TransposeMatMul com.microsoft.FusedGemm com.microsoft.FusedConv',
    () => import('./microsoft-linalg.js'),
  ],
  [
    'SimplifiedLayerNormalization com.microsoft.SimplifiedLayerNormalization com.microsoft.SkipLayerNormalization com.microsoft.SkipSimplifiedLayerNormalization com.microsoft.EmbedLayerNormalization',
    () => import('./microsoft-normalization.js'),
  ],
  [
    'com.microsoft.Attention com.microsoft.MultiHeadAttention com.microsoft.GroupQueryAttention com.microsoft.RotaryEmbedding',
    () => import('./microsoft-attention.js'),
  ],
]

/** What is known of the operators of these names (`Conv`, `com.microsoft.FusedConv`); the families they need are loaded. */
export async function operatorsNamed(names: Iterable<string>): Promise<Operators> {
  const asked = new Set(names)
  const needed = families.filter(([listed]) => listed.split(' ').some((name) => asked.has(name)))
  const loaded = await Promise.all(needed.map(async ([, load]) => (await load()).default))
  return joined([basic, ...loaded])
}

/** Of those a model is made of. */
export const operatorsOf = (model: Model): Promise<Operators> =>
  operatorsNamed([...operatorNodes(model.proto)].map(qualified))

/** Of those that values are computed by, which a loss may have added to a model's. */
export const operatorsBehind = (values: Iterable<Value>): Promise<Operators> =>
  operatorsNamed(withBodies(values).map(({ domain, operator }) => (domain ? `${domain}.${operator}` : operator)))
