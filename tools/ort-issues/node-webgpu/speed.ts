import { compareTimes, type Race } from '../cpu/speed.js'
import type { Reproducers } from '../issue.js'
import { noise, op, probe } from '../model.js'
import { startWebgpu, strictWebgpu } from '../node.js'

const onGpu = (race: Omit<Race, 'runs'>) => ({
  limit: 180,
  run: async () => compareTimes(await startWebgpu(), { runs: 5, ...race }, strictWebgpu),
})

const image = [4, 16, 32, 32] as const

export const speedIssues: Reproducers = {
  'webgpu-conv-few-outputs-slow': onGpu({
    slow: () =>
      probe([noise('float32', image), noise('float32', [4, 16, 3, 3], 1)], (x, w) =>
        op.Conv(x!, w!, null, { pads: [1, 1, 1, 1] }),
      ),
    // The same as a transposed convolution of the kernels read backwards.
    fast: () =>
      probe([noise('float32', image), noise('float32', [4, 16, 3, 3], 1)], (x, w) => {
        const turned = op.Slice(
          op.Transpose(w!, { perm: [1, 0, 2, 3] }),
          [-1, -1],
          [-(2 ** 31), -(2 ** 31)],
          [2, 3],
          [-1, -1],
        )
        return op.ConvTranspose(x!, turned, null, { pads: [1, 1, 1, 1] })
      }),
    from: 1.5,
    tolerance: 1e-2,
  }),
  'webgpu-global-average-pool-slow': onGpu({
    slow: () => probe([noise('float32', [2, 4, 128, 128])], (x) => op.GlobalAveragePool(x!)),
    fast: () => probe([noise('float32', [2, 4, 128, 128])], (x) => op.ReduceMean(x!, [2, 3])),
    from: 1.5,
    tolerance: 1e-3,
  }),
}
