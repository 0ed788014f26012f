const optional = 'its values may be absent, and those of a graph here are there'

/** Operators of ai.onnx that no form of is read, with the reason. */
export const refused: Readonly<Record<string, string>> = {
  ImageDecoder: 'it decodes compressed images, for which onnxruntime has no kernel: decode them before the model',
  Optional: optional,
  OptionalGetElement: optional,
  OptionalHasElement: optional,
  SequenceMap: 'it runs a graph for every tensor of a sequence: unroll it, or use Scan',
}
