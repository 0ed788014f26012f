import type { Ort } from './ort.js'

/** An execution provider and its memory. */
export interface Provider {
  /** Display name: 'cpu', 'cuda 0'. */
  readonly name: string
  /** Value of `Runtime.provider`. */
  readonly kind: 'cpu' | 'cuda'
  /** Its memory, by onnxruntime's name. */
  readonly memory: { readonly name: string; readonly device: number }
  /** Adds the provider before the CPU to session options. Throws 'runtime' naming what is missing. */
  append(ort: Ort, sessionOptions: bigint): void
}

export const cpuMemory = { name: 'Cpu', device: 0 }

/** The CPU provider: its tensors are in onnxruntime's own arena. */
export const cpuProvider: Provider = { name: 'cpu', kind: 'cpu', memory: cpuMemory, append() {} }
