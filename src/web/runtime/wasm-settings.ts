/** URLs of onnxruntime-web's WebAssembly and of the module that loads it. */
export interface WasmFiles {
  readonly wasm?: string | URL
  readonly mjs?: string | URL
}

/** Location of onnxruntime's WebAssembly and its number of threads. */
export interface WasmSettings {
  /**
   * Location of onnxruntime-web's `ort-wasm-*` files: a folder, ending in '/', or the URLs of the two files of the
   * runtime (for `webgpu` of the build that the browser runs: `jspi` if it has `WebAssembly.Suspending`, otherwise
   * `asyncify`). Default: the
   * location to which Vite (or another bundler that supports `new URL(..., import.meta.url)`) copies them; without a
   * bundler, next to onnxruntime-web's own module.
   */
  readonly wasmPaths?: string | WasmFiles | undefined
  /**
   * Number of threads of one operator; more than 1 need a cross-origin isolated page. Default: the number of cores if
   * the page is isolated, otherwise 1; always 1 with `webgpu`, because the GPU does the work. The first runtime of a
   * page or worker decides: onnxruntime starts once.
   */
  readonly threads?: number | undefined
}
