import { OnnxIreError, type Runtime, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'

/**
 * Mask of a control run: 'random' over all coordinates; 'shuffled' within each tensor, which preserves the fraction of
 * flat coordinates per tensor; 'tensors': whole tensors, in the order of their mean curvature.
 */
export type RandomMask = 'random' | 'shuffled' | 'tensors'

/** Input of a training graph that selects the curvature gradient. */
export const sampledInput = 'choice/sampled'

/**
 * A runtime for control runs of IRE with another mask. IRE ranks coordinates by gradients for sampled targets; this
 * runtime replaces these gradients by independent uniform numbers, by their root mean square over the tensor, or
 * shuffles them within each tensor. The number of flat coordinates (up to one tensor for 'tensors'), the refresh
 * interval and the cost are unchanged, and everything else is bit-identical.
 */
export function withRandomMask(runtime: Runtime, mask: RandomMask, seed: number): Runtime {
  const random = new Random(seed).stream('mask')
  const randomize = (tensor: Tensor): Tensor => {
    const data = (tensor.data as Float32Array).slice()
    if (mask === 'random') random.fill(data, 'uniform')
    else if (mask === 'tensors') data.fill(Math.sqrt(data.reduce((sum, g) => sum + g * g, 0) / data.length))
    else
      for (const [i, from] of random.permutation(data.length).entries()) data[i] = (tensor.data as Float32Array)[from]!
    return { ...tensor, data }
  }
  return {
    description: runtime.description,
    provider: runtime.provider,
    async compile(bytes, options) {
      const program = await runtime.compile(bytes, options)
      const trains = program.outputNames.some((name) => name.startsWith('grad/'))
      if (trains && !program.inputNames.includes(sampledInput))
        throw new OnnxIreError(
          'invalid-option',
          'a random mask replaces sampled curvature: set the curvature of IRE to sampled',
        )
      return {
        // Without `runInto`, whose results this runtime does not see.
        inputNames: program.inputNames,
        outputNames: program.outputNames,
        release: () => program.release(),
        run: async (feeds) => {
          const outputs = await program.run(feeds)
          // One graph computes training and curvature gradients; an input selects which.
          const { data: [sampled] = [0] } = feeds[sampledInput] ?? {}
          if (!sampled) return outputs
          return Object.fromEntries(
            Object.entries(outputs).map(([name, tensor]) => [
              name,
              name.startsWith('grad/') ? randomize(tensor) : tensor,
            ]),
          )
        },
      }
    },
    allocate: (dtype, length) => runtime.allocate(dtype, length),
    dispose: () => runtime.dispose(),
  }
}
