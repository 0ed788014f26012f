import type { NodeProto } from '../onnx/proto/schema.js'

/**
 * Derives the path of the PyTorch module that a node belongs to, such as `model.layers.0.self_attn.q_proj`: from the
 * scopes that torch.onnx writes into its metadata, from the name of the node, or from the name of its weight. Exporters
 * rename weights (`onnx::MatMul_123`), and onnxruntime-genai shortens `self_attn` to `attn`.
 *
 * @param weight name of the stored weight
 * @returns undefined if neither has a name
 */
export function deriveModulePath(node: NodeProto, weight: string): string | undefined {
  const path = fromScopes(node) ?? fromNodeName(node.name ?? '') ?? fromWeightName(weight) ?? (node.name || undefined)
  return path?.replace(/(layers\.\d+)\.attn\.(?=(?:q|k|v|o|qkv)_proj$)/, '$1.self_attn.')
}

/** Module paths from outermost to innermost, as a Python list: `['', 'model', 'model.layers.0', ..., 'linear_3']`. */
function fromScopes({ metadataProps }: NodeProto): string | undefined {
  const scopes = metadataProps.find(({ key }) => key === 'pkg.torch.onnx.name_scopes')?.value
  const names = [...(scopes ?? '').matchAll(/'([^']*)'/g)].map(([, name]) => name!)
  return names.length > 2 ? names.at(-2) || undefined : undefined
}

const operatorName = /^(MatMul|Gemm|Conv|Gather|FusedMatMul|GatherBlockQuantized|BiasAdd|Add)(?![a-z])/

/** `/model/layers.0/mlp/up_proj/MatMul_Q4` and TensorFlow's `model/dense/MatMul`, without the operator. */
function fromNodeName(name: string): string | undefined {
  const parts = name.split('/').filter((part) => part !== '')
  if (parts.length < 2) return undefined
  while (parts.length > 1 && operatorName.test(parts.at(-1)!)) parts.pop()
  return operatorName.test(parts[0]!) ? undefined : parts.join('.')
}

/** `fc.weight`, `model.layers.0.attn.q_proj.MatMul.weight`, `..._Q4G32`, without the suffixes of exporters. */
function fromWeightName(name: string): string | undefined {
  if (name === '' || name.includes('::')) return undefined
  const plain = name
    .replace(/_(Q[248](G\d+)?|DQ_?\w*|quantized|quant)$/, '')
    .replace(/[._](weight|qweight|kernel|weight_?q|weights?)(:0|_T|_transposed)?$/i, '')
    .replace(/[./](MatMul(NBits)?|Gemm|Conv|Gather)$/, '')
  return plain.split('/').filter(Boolean).join('.') || undefined
}
