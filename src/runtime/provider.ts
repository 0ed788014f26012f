/** What computes in a runtime: onnxruntime's execution provider. It decides into which operators a graph is lowered. */
export type Provider = 'cpu' | 'cuda' | 'wasm' | 'webgpu'
