import { getOwn } from '../util/record.js'

/**
 * Rewriting passes of onnxruntime 1.30 by the operators that they look for: without one for each expression a pass
 * changes nothing. Each pass walks the whole graph, and a step that changes it runs all passes again.
 */
const passes: readonly (readonly [operators: readonly RegExp[], passes: readonly string[]])[] = [
  [
    [/quant|QLinear|Integer|NBits/i],
    [
      'DoubleQDQPairsRemover',
      'DynamicQuantizeMatMulFusion',
      'EnsureUniqueDQForNodeUnit',
      'MatMulIntegerToFloatFusion',
      'MatMulNBitsFusion',
      'QDQFinalCleanupTransformer',
      'QDQPropagationTransformer',
      'QDQS8ToU8Transformer',
      'QDQSelectorActionTransformer',
      'WeightBiasQuantization',
      'WhereDummyDq',
    ],
  ],
  [[/^Erf$/], ['GeluFusionL1', 'GeluFusionL2']],
  [[/^(Erf|Tanh|Gelu|FastGelu)$/], ['BiasGeluFusion']],
  [[/^Tanh$/], ['FastGeluFusion']],
  [[/^Sigmoid$/], ['QuickGeluFusion']],
  [[/^Softmax$/], ['AttentionFusion', 'BiasSoftmaxFusion', 'MatMulActivationFusion']],
  [
    [/^ReduceMean$/, /^Pow$/],
    ['LayerNormFusionL1', 'LayerNormFusionL2', 'SimplifiedLayerNormFusion'],
  ],
  [[/LayerNormalization$|^Pow$/], ['BiasSkipLayerNormFusion', 'SkipLayerNormFusion']],
  [[/^Gather$/], ['EmbedLayerNormFusion', 'GatherToSliceFusion']],
  [[/^(Gather|Slice)$/], ['GatherSliceToSplitFusion']],
  [[/^Slice$/, /^Concat$/], ['SliceConcatToSpaceToDepthFusion']],
  [[/^Concat$/, /^Reshape$/], ['ReshapeFusion']],
  [[/MatMul$/, /^Add$/], ['MatMulAddFusion']],
  [[/MatMul$/, /^(Mul|Div)$/], ['MatMulScaleFusion']],
  [[/MatMul$/, /^Transpose$/], ['MatmulTransposeFusion']],
  [[/^Gemm$|MatMul$/], ['GemmActivationFusion']],
  [[/^Conv$/], ['ConvActivationFusion', 'ConvAddActivationFusion', 'NchwcTransformer']],
  [[/Attention$/], ['GroupQueryAttentionFusion', 'GroupQueryAttentionPreNormFusion']],
  [[/Dropout$/], ['BiasDropoutFusion']],
]

/** Session options of onnxruntime with further ones by section and name. */
interface Extensible {
  readonly extra?: Readonly<Record<string, unknown>> | undefined
}

const [section, key] = ['optimization', 'disable_specified_optimizers']

/**
 * Session options that leave out the passes that change nothing in a graph with these operators: the session is the
 * same and created in two thirds of the time.
 */
export function skipNeedlessPasses<T extends Extensible>(options: T, operators: ReadonlySet<string>): T {
  const present = [...operators]
  const needless = passes.flatMap(([needed, names]) =>
    needed.every((operator) => present.some((name) => operator.test(name))) ? [] : names,
  )
  const given = getOwn(options.extra, section) as Readonly<Record<string, string>> | undefined
  const disabled = [getOwn(given, key) ?? '', ...needless].filter(Boolean).join(';')
  return { ...options, extra: { ...options.extra, [section]: { ...given, [key]: disabled } } }
}
