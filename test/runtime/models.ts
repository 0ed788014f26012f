import { onnx } from 'onnx-proto'

/** ONNX numbers of the element types that tests write. */
export const elem = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
} as const

export interface Port {
  readonly name: string
  readonly dtype: keyof typeof elem
  readonly dims: readonly (number | string)[]
}

export interface Step {
  readonly op: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

/** Serialized ONNX (opset 13) without initializers or attributes, written by a codec that is not ours. */
export function modelBytes(steps: readonly Step[], inputs: readonly Port[], outputs: readonly Port[]): Uint8Array {
  const graph = {
    name: 'test',
    node: steps.map(({ op, inputs, outputs }) => ({ opType: op, input: [...inputs], output: [...outputs] })),
    input: inputs.map(valueInfo),
    output: outputs.map(valueInfo),
  }
  const model = onnx.ModelProto.create({ irVersion: 8, opsetImport: [{ domain: '', version: 13 }], graph })
  return onnx.ModelProto.encode(model).finish()
}

/** y = op(x, ...) with every port of one dtype and shape. */
export function oneNode(op: string, inputs: readonly string[], port: Omit<Port, 'name'>): Uint8Array {
  const ports = inputs.map((name) => ({ name, ...port }))
  return modelBytes([{ op, inputs, outputs: ['y'] }], ports, [{ name: 'y', ...port }])
}

/** `depth` products of an n x n matrix with itself, to keep onnxruntime busy. */
export function heavy(depth: number): Uint8Array {
  const port = { dtype: 'float32', dims: ['n', 'n'] } as const
  const at = (i: number) => (i === depth ? 'y' : `x${i}`)
  const steps = Array.from({ length: depth }, (_, i) => ({ op: 'MatMul', inputs: ['x0', at(i)], outputs: [at(i + 1)] }))
  return modelBytes(steps, [{ name: 'x0', ...port }], [{ name: 'y', ...port }])
}

function valueInfo({ name, dtype, dims }: Port) {
  const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }))
  return { name, type: { tensorType: { elemType: elem[dtype], shape: { dim } } } }
}
