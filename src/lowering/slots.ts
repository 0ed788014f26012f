/**
 * Inputs that onnxruntime reads on the host, whatever the provider: shapes, axes, counts and conditions. They take values in the
 * form that the host computes, so that no run waits for a device to tell a shape.
 */
const hostSlots: Readonly<Record<string, readonly number[]>> = {
  CenterCropPad: [1],
  Col2Im: [1, 2],
  ConstantOfShape: [0],
  CumProd: [1],
  CumSum: [1],
  Expand: [1],
  If: [0],
  Loop: [0, 1],
  MaxUnpool: [2],
  OneHot: [1],
  Pad: [1, 3],
  Range: [0, 1, 2],
  ReduceL1: [1],
  ReduceL2: [1],
  ReduceLogSum: [1],
  ReduceLogSumExp: [1],
  ReduceMax: [1],
  ReduceMean: [1],
  ReduceMin: [1],
  ReduceProd: [1],
  ReduceSum: [1],
  ReduceSumSquare: [1],
  Reshape: [1],
  Resize: [1, 2, 3],
  Slice: [1, 2, 3, 4],
  Split: [1],
  Squeeze: [1],
  Tile: [1],
  TopK: [1],
  Trilu: [1],
  Unsqueeze: [1],
}

/** Inputs, beside those of the host, that are int64 and nothing else. */
const longSlots: Readonly<Record<string, readonly number[]>> = { GatherND: [1], ScatterND: [1] }

/** Operators that ONNX has for int32 wherever it has them for int64, but for the inputs above. */
const generic: ReadonlySet<string> = new Set([
  ...['Abs', 'Add', 'ArgMax', 'ArgMin', 'Cast', 'CastLike', 'Clip', 'Compress', 'Concat', 'CumSum', 'Div', 'Equal'],
  ...['Expand', 'EyeLike', 'Flatten', 'Gather', 'GatherElements', 'GatherND', 'Greater', 'GreaterOrEqual', 'Identity'],
  ...[
    'Less',
    'LessOrEqual',
    'Max',
    'MaxUnpool',
    'Min',
    'Mod',
    'Mul',
    'Neg',
    'NegativeLogLikelihoodLoss',
    'OneHot',
    'Pad',
    'Pow',
  ],
  ...['ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSum', 'Reshape', 'ScatterElements', 'ScatterND'],
  ...['Shape', 'Sign', 'Size', 'Slice', 'SoftmaxCrossEntropyLoss', 'Split', 'Squeeze', 'Sub', 'Tile', 'TopK'],
  ...['Transpose', 'Trilu', 'Unsqueeze', 'Where'],
])

/** Whether an operator reads this input on the host. */
export const onHost = (operator: string, slot: number): boolean => hostSlots[operator]?.includes(slot) ?? false

/** Whether an int64 input may as well be int32. */
export const mayBeNarrow = (operator: string, slot: number): boolean =>
  generic.has(operator) && !onHost(operator, slot) && !longSlots[operator]?.includes(slot)
