import { OnnxIreError, type Runtime, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'

/**
 * Random mask of a control run: 'random' over all coordinates; 'shuffled' within each tensor, which preserves the
 * fraction of flat coordinates per tensor.
 */
export type RandomMask = 'random' | 'shuffled'

/** Input of a training graph that selects the curvature gradient. */
const SAMPLED = 'choice/sampled'

/**
 * A runtime for control runs of IRE with a random mask. IRE ranks coordinates by gradients for sampled targets; this
 * runtime replaces these gradients by independent uniform numbers, or shuffles them within each tensor. The number of
 * flat coordinates, the refresh interval and the cost are unchanged, and everything else is bit-identical.
 */
export function withRandomMask(runtime: Runtime, mask: RandomMask, seed: number): Runtime {
  const random = new Random(seed).stream('mask')
  const randomize = (tensor: Tensor): Tensor => {
    const data = (tensor.data as Float32Array).slice()
    if (mask === 'random') random.fill(data, 'uniform')
    else
      for (const [i, from] of random.permutation(data.length).entries()) data[i] = (tensor.data as Float32Array)[from]!
    return { ...tensor, data }
  }
  return {
    description: runtime.description,
    provider: runtime.provider,
    async compile(bytes) {
      const program = await runtime.compile(bytes)
      const trains = program.outputNames.some((name) => name.startsWith('grad/'))
      if (trains && !program.inputNames.includes(SAMPLED))
        throw new OnnxIreError(
          'invalid-option',
          'a random mask replaces sampled curvature: set the curvature of IRE to sampled',
        )
      return {
        ...program,
        run: async (feeds) => {
          const outputs = await program.run(feeds)
          // One graph computes training and curvature gradients; an input selects which.
          const { data: [sampled] = [0] } = feeds[SAMPLED] ?? {}
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
