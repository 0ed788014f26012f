import { type Finding, firstLine, NotTested, type Reproducers } from '../issue.js'
import { difference, noise, of, op, probe } from '../model.js'
import { loadNode, quiet, runNode, toFeeds } from '../node.js'

const options = { ...quiet, executionProviders: ['cuda'] }

/** Starts the CUDA provider. Throws `NotTested` if it does not start. */
async function startCuda() {
  const ort = loadNode()
  const { bytes } = probe([of('float32', [1], 1)], (x) => op.Add(x!, x!))
  try {
    const session = await ort.InferenceSession.create(bytes, options)
    await session.release()
  } catch (error) {
    throw new NotTested(`CUDA does not start: ${firstLine(error, 100)}`)
  }
  return ort
}

export const cudaIssues: Reproducers = {
  'cuda-no-device-outputs': {
    run: async (): Promise<Finding> => {
      const ort = await startCuda()
      const { bytes, feeds } = probe([of('float32', [2], 1, 2)], (x) => op.Add(x!, x!))
      try {
        const session = await ort.InferenceSession.create(bytes, { ...options, preferredOutputLocation: 'gpu-buffer' })
        const { y0 } = await session.run(toFeeds(ort, feeds))
        return { present: y0!.location === 'cpu', detail: `the output's location is ${y0!.location}` }
      } catch (error) {
        return { present: true, detail: firstLine(error) }
      }
    },
  },
  'cuda-tf32-by-default': {
    run: async () => {
      await startCuda()
      const model = probe([noise('float32', [256, 256]), noise('float32', [256, 256], 1)], (a, b) => op.MatMul(a!, b!))
      const [right] = await runNode(model)
      const [y] = await runNode(model, options)
      const error = difference(y!.data, right!.data)
      return {
        present: error > 1e-3,
        detail: `largest difference of a 256 x 256 product from the CPU: ${error.toPrecision(2)}`,
      }
    },
  },
}
