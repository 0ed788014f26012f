/** Facts about a model for `Runtime.compile`; a runtime may ignore them. */
export interface CompileHints {
  /** All operators of the model: passes of onnxruntime that look for others are left out. */
  readonly operators?: ReadonlySet<string>
  /** Whether the caller does not use the bytes afterwards: the runtime may take their memory instead of a copy. */
  readonly transfer?: boolean
  /** Bytes of the model's external data by location, for a runtime that `readsBytes`. */
  readonly externalData?: ReadonlyMap<string, Uint8Array>
  /** Folder of the model's external data, for a runtime that `readsFiles`. */
  readonly folder?: string
}
