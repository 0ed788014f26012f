import type { FloatArray, ProcessGroup } from '../../src/index.js'

/** A call that waits for the other members. */
interface Call {
  readonly rank: number
  readonly arrays: readonly (FloatArray | Uint8Array)[]
  readonly resolve: () => void
}

/** Creates a group of `size` members in this process, whose calls meet as those of processes do. */
export function localGroup(size: number): ProcessGroup[] {
  let waiting: Call[] = []
  const meet = (rank: number, arrays: Call['arrays'], combine: (calls: readonly Call[]) => void) =>
    new Promise<void>((resolve, reject) => {
      if (waiting.some((call) => call.rank === rank)) return reject(new Error(`rank ${rank} called twice`))
      waiting.push({ rank, arrays, resolve })
      if (waiting.length < size) return
      const calls = waiting.sort((a, b) => a.rank - b.rank)
      waiting = []
      const lengths = calls.map(({ arrays }) => arrays.map(({ length }) => length).join())
      if (new Set(lengths).size > 1) return reject(new Error(`the ranks have other lengths: ${lengths.join(' | ')}`))
      combine(calls)
      for (const call of calls) call.resolve()
    })
  return Array.from({ length: size }, (_, rank) => ({
    rank,
    size,
    allReduce: (arrays) =>
      meet(rank, arrays, (calls) => {
        for (const i of arrays.keys()) {
          const sum = calls[0]!.arrays[i]!.slice()
          for (const { arrays } of calls.slice(1)) for (let j = 0; j < sum.length; j++) sum[j]! += arrays[i]![j]!
          for (const { arrays } of calls) arrays[i]!.set(sum)
        }
      }),
    allToAll: (sent, received) =>
      meet(rank, [sent, received], (calls) => {
        const length = sent.length / size
        for (const { rank: to, arrays } of calls)
          for (const [from, { arrays: others }] of calls.entries())
            arrays[1]!.set(others[0]!.slice(to * length, (to + 1) * length), from * length)
      }),
    allGather: (own, all) =>
      meet(rank, [own, all], (calls) => {
        for (const { arrays } of calls)
          for (const [from, { arrays: others }] of calls.entries()) arrays[1]!.set(others[0]!, from * own.length)
      }),
    reduceScatter: (parts) =>
      meet(rank, parts.flat(), (calls) => {
        let at = 0
        for (const [owner, { length }] of parts.entries())
          for (const end = at + length; at < end; at++) {
            const sum = calls[0]!.arrays[at]!.slice()
            for (const { arrays } of calls.slice(1)) for (let j = 0; j < sum.length; j++) sum[j]! += arrays[at]![j]!
            // What other processes have must not be read.
            for (const { rank, arrays } of calls) arrays[at]!.set(rank === owner ? sum : sum.map(() => Number.NaN))
          }
      }),
    gatherParts: (parts) =>
      meet(rank, parts.flat(), (calls) => {
        let at = 0
        for (const [owner, { length }] of parts.entries())
          for (const end = at + length; at < end; at++)
            for (const { arrays } of calls) arrays[at]!.set(calls[owner]!.arrays[at]!)
      }),
    broadcast: (arrays, root = 0) =>
      meet(rank, arrays, (calls) => {
        for (const { arrays } of calls) for (const [i, array] of arrays.entries()) array.set(calls[root]!.arrays[i]!)
      }),
  }))
}
