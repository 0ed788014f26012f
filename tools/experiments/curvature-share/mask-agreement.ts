import type { Runtime, Tensor, Tensors } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { sampledInput } from '../random-mask.js'

/** Masks that are compared with that of a refresh: from shares of its batch, with the same labels. */
export interface Comparison {
  readonly shares: readonly number[]
  /** Share of coordinates treated as flat. */
  readonly gamma: number
  readonly batchSize: number
  /** Inputs whose first axis is that of the examples; noise inputs are such inputs, too. */
  readonly columns: readonly string[]
}

/** Shares of coordinates that are flat in both masks or in none, one per refresh. */
export interface Agreement {
  /** By share of the batch. */
  readonly shares: Readonly<Record<string, number[]>>
  /** With the mask of the whole batch for other samples of the labels. */
  readonly resampled: number[]
}

/**
 * A runtime that compares masks at every refresh with a whole batch. Training is unchanged, bit for bit: the further
 * curvature gradients are only compared.
 */
export function withMaskAgreement(
  runtime: Runtime,
  { shares, gamma, batchSize, columns }: Comparison,
): { readonly runtime: Runtime; readonly agreement: Agreement } {
  const agreement = {
    shares: Object.fromEntries(shares.map((share) => [share, [] as number[]])),
    resampled: [] as number[],
  }
  const random = new Random(0).stream('other samples')
  const isNoise = (name: string) => name.startsWith('noise/')
  /** Graphs of models whose norms are trained have no curvature beside the gradient, but a graph of its own. */
  const isCurvature = (feeds: Tensors) =>
    feeds[sampledInput] ? Boolean(feeds[sampledInput].data[0]) : Object.keys(feeds).some(isNoise)
  const take = (feeds: Tensors, examples: number): Tensors =>
    mapTensors(feeds, (tensor, name) => (isNoise(name) || columns.includes(name) ? rowsOf(tensor, examples) : tensor))
  const resample = (feeds: Tensors): Tensors =>
    mapTensors(feeds, (tensor, name) =>
      isNoise(name) ? { ...tensor, data: random.fill(new Float32Array(tensor.data.length), 'uniform') } : tensor,
    )
  const compiled: Runtime['compile'] = async (bytes, hints) => {
    const program = await runtime.compile(bytes, hints)
    const maskOf = async (feeds: Tensors) => flatOf(await program.run(feeds), gamma)
    return {
      // Without `runInto`, whose results this runtime does not see.
      inputNames: program.inputNames,
      outputNames: program.outputNames,
      release: () => program.release(),
      run: async (feeds) => {
        const outputs = await program.run(feeds)
        if (!isCurvature(feeds) || feeds[columns[0]!]!.dims[0] !== batchSize) return outputs
        // The outputs are valid until the next run.
        const kept = mapTensors(outputs, (tensor) => ({ ...tensor, data: tensor.data.slice() }) as Tensor)
        const whole = flatOf(kept, gamma)
        for (const share of shares)
          agreement.shares[share]!.push(equalShare(whole, await maskOf(take(feeds, Math.round(share * batchSize)))))
        agreement.resampled.push(equalShare(whole, await maskOf(resample(feeds))))
        return kept
      },
    }
  }
  return { runtime: { ...runtime, compile: compiled }, agreement }
}

/** The first examples of a tensor. */
const rowsOf = ({ dtype, dims, data }: Tensor, examples: number): Tensor =>
  ({ dtype, dims: [examples, ...dims.slice(1)], data: data.slice(0, (data.length / dims[0]!) * examples) }) as Tensor

const mapTensors = (tensors: Tensors, f: (tensor: Tensor, name: string) => Tensor): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, f(tensor, name)]))

/** The mask of IRE over all gradients together: 1 where the magnitude is at most the k-th largest. */
function flatOf(outputs: Tensors, gamma: number): Uint8Array {
  const gradients = Object.entries(outputs).flatMap(([name, { data }]) =>
    name.startsWith('grad/') ? [data as Float32Array] : [],
  )
  const total = gradients.reduce((sum, { length }) => sum + length, 0)
  const magnitudes = new Float32Array(total)
  let at = 0
  for (const gradient of gradients) for (const x of gradient) magnitudes[at++] = Math.abs(x)
  const threshold = magnitudes.slice().sort()[total - Math.max(1, Math.floor((1 - gamma) * total))]!
  return Uint8Array.from(magnitudes, (x) => (x <= threshold ? 1 : 0))
}

const equalShare = (a: Uint8Array, b: Uint8Array): number =>
  a.reduce((sum, bit, i) => sum + (bit === b[i] ? 1 : 0), 0) / a.length
