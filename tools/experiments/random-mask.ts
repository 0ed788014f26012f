import { OnnxIreError, type Runtime, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'

/**
 * How a control's mask is drawn: 'random', over all coordinates alike; 'shuffled', at random within each tensor, which keeps
 * the share of flat coordinates that the curvature gives it.
 */
export type RandomMask = 'random' | 'shuffled'

/** The input by which a training graph gives what its curvature is estimated by. */
const SAMPLED = 'choice/sampled'

/**
 * A runtime for the control of IRE that draws its mask by lot. What IRE ranks by are gradients against sampled targets: here
 * independent uniform numbers take their place, or their own in random order within each tensor. So as many coordinates are
 * flat, refreshed as often and at the same cost, and everything else is the same to the bit.
 */
export function randomlyMasked(runtime: Runtime, mask: RandomMask, seed: number): Runtime {
  const random = new Random(seed).stream('mask')
  const drawn = (tensor: Tensor): Tensor => {
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
          'a mask by lot takes the place of sampled curvature: give IRE no other',
        )
      return {
        ...program,
        run: async (feeds) => {
          const outputs = await program.run(feeds)
          // Training graph and curvature graph are one, which is told what it is.
          const { data: [sampled] = [0] } = feeds[SAMPLED] ?? {}
          if (!sampled) return outputs
          return Object.fromEntries(
            Object.entries(outputs).map(([name, tensor]) => [name, name.startsWith('grad/') ? drawn(tensor) : tensor]),
          )
        },
      }
    },
    allocate: (dtype, length) => runtime.allocate(dtype, length),
    dispose: () => runtime.dispose(),
  }
}
