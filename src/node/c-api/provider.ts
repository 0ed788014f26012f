import type { Ort } from './ort.js'

/** What computes, and the memory it computes in. */
export interface Provider {
  /** For people: 'cpu', 'cuda 0'. */
  readonly name: string
  /** Of `Runtime.provider`. */
  readonly kind: 'cpu' | 'cuda'
  /** Its memory, in the name that onnxruntime gives it. */
  readonly memory: { readonly name: string; readonly device: number }
  /** Puts it before the CPU in session options. Throws 'runtime' with what is missing. */
  append(ort: Ort, sessionOptions: bigint): void
}

export const cpuMemory = { name: 'Cpu', device: 0 }

/** The host itself: its tensors stay in onnxruntime's own arena. */
export const cpuProvider: Provider = { name: 'cpu', kind: 'cpu', memory: cpuMemory, append() {} }
