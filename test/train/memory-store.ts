import type { CheckpointStore } from '../../src/index.js'

/** A store of checkpoints in memory, by step. */
export function memoryStore(): CheckpointStore & { readonly saved: Map<number, Uint8Array> } {
  const saved = new Map<number, Uint8Array>()
  return {
    saved,
    save: async (step, checkpoint) => void saved.set(step, checkpoint),
    steps: async () => [...saved.keys()].sort((a, b) => b - a),
    load: async (step) => saved.get(step)!,
  }
}
