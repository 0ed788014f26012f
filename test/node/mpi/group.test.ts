import { availableParallelism } from 'node:os'
import { describe, expect, it } from 'vitest'
import { findLauncher } from '../../../src/node/mpi/library.js'
import { mpi } from '../../../src/node/mpi/mpi.js'
import { needs } from '../../requirements.js'
import { errorWith } from '../../thrown.js'
import { type LauncherName, launchers, linesOf, runJob, script } from './job.js'

/** Sums of arrays, arrays and parts of ranks, and the threads of a runtime; exits with code 7. */
const sums = script(`
  import { mpi, node } from './dist/node/index.js'
  const group = await mpi()
  const { rank, size, description } = group
  const large = new Float32Array(100_000).fill(rank + 1)
  const shared = new Float32Array(new SharedArrayBuffer(400_000)).fill(rank + 1)
  const small = [new Float32Array([rank, 1]), new Float64Array([rank + 2 ** -40]), new Float32Array(0), new Float32Array([3])]
  const bytes = new Uint8Array(3).fill(rank + 7)
  const sent = [new Float32Array(50_000).fill(rank + 1), new Float32Array([rank]), new Float64Array([rank]), new Uint8Array([rank, 9])]
  const parts = Uint8Array.of(10 * rank, 10 * rank, 10 * rank + 1, 10 * rank + 1)
  const [received, all] = [new Uint8Array(4), new Uint8Array(8)]
  // The large one fills two messages, the second of which has no elements of rank 1.
  const parted = () => [[new Float32Array(2_500_000).fill(rank + 1), Float64Array.of(rank + 2 ** -40)], [Float32Array.of(rank + 5, 1)]]
  const [summed, gathered] = [parted(), parted()]
  await Promise.all([
    group.allReduce([large, ...small, shared]), group.broadcast([bytes]), group.broadcast(sent, 1),
    group.allToAll(parts, received), group.allGather(parts, all),
    group.reduceScatter(summed), group.gatherParts(gathered),
  ])
  const ends = [large, shared].map((array) => [array[0], array.at(-1)])
  const edges = (arrays) => arrays.map((array) => [array[0], array.at(-1)])
  const threads = Number(/(\\d+) thread/.exec(node().description)[1])
  console.log(JSON.stringify({ rank, size, description, ends, small: small.map((array) => [...array]), bytes: [...bytes], received: [...received], all: [...all], summed: edges(summed[rank]), gathered: gathered.map(edges), sent: sent.map((array) => [array[0], array.at(-1)]), threads }))
  await group.close()
  process.exitCode = 7
`)

/** Parts of three ranks, of which one has elements. */
const unequal = script(`
  import { mpi } from './dist/node/index.js'
  const group = await mpi()
  const parts = () => [[], [Float32Array.of(group.rank + 1, 10 * (group.rank + 1))], []]
  const [summed, gathered] = [parts(), parts()]
  await group.reduceScatter(summed)
  await group.gatherParts(gathered)
  console.log(JSON.stringify({ rank: group.rank, summed: [...summed[1][0]], gathered: [...gathered[1][0]] }))
`)

const hanging = script(`
  import { mpi } from './dist/node/index.js'
  const group = await mpi({ timeout: 2 })
  if (group.rank === 1) await new Promise((resolve) => setTimeout(resolve, 300_000))
  await group.allReduce([new Float32Array(1)])
`)

/** A disk that is full for rank 0. */
const full = script(`
  import { adamw, crossEntropy, fromArrays, labelColumn, OnnxIreError, Trainer } from './dist/index.js'
  import { modelOf } from './dist/graph/index.js'
  import { mlp } from './dist/models/mlp.js'
  import { mpi, node } from './dist/node/index.js'
  const group = await mpi()
  const data = fromArrays({ x: { dims: [8, 2], data: new Float32Array(16) }, labels: labelColumn([0, 1, 0, 1, 0, 1, 0, 1]) })
  const { name, inputs, outputs } = mlp({ features: 2, hidden: [4], classes: 2 })
  const options = { loss: crossEntropy(), optimizer: adamw(), runtime: node(), processGroup: group }
  const trainer = await Trainer.create(modelOf({ name, inputs, outputs }), options)
  const save = async () => { throw new OnnxIreError('io', 'ENOSPC: no space left on device') }
  const store = { save, steps: async () => [], load: async () => new Uint8Array() }
  await trainer.train(data, { totalSteps: 1e6, checkpoints: { store, everySteps: 2 } })
`)

const joining = script(`import { mpi } from './dist/node/index.js'; await mpi()`)

/** Processes that wait for each other take long if they share a core. */
const timeout = 600_000

for (const launcher of Object.keys(launchers) as LauncherName[])
  describe.concurrent(`a group of ${launcher}`, { ...(await needs(launcher)), timeout }, () => {
    it('sums and sends arrays, divides the cores, and ends with the exit code of its processes', async () => {
      const { code, stdout } = await runJob(launcher, 2, sums)
      expect(code).toBe(7)
      const expected = {
        size: 2,
        ends: [
          [3, 3],
          [3, 3],
        ],
        small: [[1, 2], [1 + 2 ** -39], [], [6]],
        bytes: [7, 7, 7],
        sent: [
          [2, 2],
          [1, 1],
          [1, 1],
          [1, 9],
        ],
        all: [0, 0, 1, 1, 10, 10, 11, 11],
      }
      const both = (value: number) => [value, value]
      const lines = linesOf<{ rank: number; threads: number; description: string }>(stdout)
      expect(lines).toEqual(
        [0, 1].map((rank) =>
          expect.objectContaining({
            rank,
            received: [rank, rank, 10 + rank, 10 + rank],
            summed: rank === 0 ? [both(3), both(1 + 2 ** -39)] : [[11, 2]],
            gathered: [[both(1), both(2 ** -40)], [[6, 1]]],
            ...expected,
          }),
        ),
      )
      for (const { threads, description } of lines) {
        // The launcher may have bound each process to cores of its own.
        expect(threads).toBeLessThanOrEqual(Math.max(1, Math.floor(availableParallelism() / 2)))
        expect(description).toMatch(new RegExp(`^${launcher} v?\\d`))
      }
    })

    it('sums and sends parts that few processes have', async () => {
      const { code, stdout } = await runJob(launcher, 3, unequal)
      expect(code).toBe(0)
      const numbers = linesOf<{ rank: number; summed: number[]; gathered: number[] }>(stdout)
      expect(numbers[1]!.summed).toEqual([6, 60])
      for (const { gathered } of numbers) expect(gathered).toEqual([2, 20])
    })

    it('ends with code 75 if a process hangs', async () => {
      const { code, stderr } = await runJob(launcher, 2, hanging)
      expect(code).toBe(75)
      expect(stderr).toContain('rank 0 has waited 2 s')
    })

    it('ends if a process fails: rank 0 cannot save a checkpoint', async () => {
      const { code, stderr } = await runJob(launcher, 2, full)
      expect(code).not.toBe(0)
      expect(stderr).toContain('ENOSPC')
    })

    it('refuses the library of another launcher', async () => {
      const other = launcher === 'MPICH' ? 'libmpi.so.40' : 'libmpich.so.12'
      const { code, stderr } = await runJob(launcher, 2, joining, { ONNX_IRE_MPI: other })
      expect(code).not.toBe(0)
      expect(stderr).toMatch(/has started 2 processes, but .* sees 1|no MPI library loads/)
    })
  })

describe('the launcher of a process', () => {
  it.each([
    [{ OMPI_COMM_WORLD_SIZE: '4' }, 'Open MPI', 4, 'libmpi.so.40'],
    [{ PMI_RANK: '0', PMI_SIZE: '2' }, 'MPICH', 2, 'libmpich.so.12'],
    [{ PMI_PORT: 'host:1' }, 'MPICH', undefined, 'libmpich.so.12'],
    [{ PMI_FD: '3', SLURM_STEP_NUM_TASKS: '8' }, 'srun with PMI', 8, 'libmpich.so.12'],
    [{ PMIX_RANK: '1', SLURM_STEP_NUM_TASKS: '8' }, 'PMIx', 8, 'libmpi.so.40'],
    [{ PMI_SIZE: '2', ONNX_IRE_MPI: '/opt/mpi.so' }, 'MPICH', 2, '/opt/mpi.so'],
  ])('is read from %o', (env, name, size, first) => {
    const launcher = findLauncher(env)!
    expect(launcher).toMatchObject({ name, size })
    expect(launcher.libraries[0]).toBe(first)
  })

  it('is none without its variables', async () => {
    expect(findLauncher({ SLURM_STEP_NUM_TASKS: '1', SLURM_PROCID: '0' })).toBeNull()
    expect(await mpi()).toBeUndefined()
  })

  it('is not srun without MPI', () => {
    const env = { SLURM_STEP_NUM_TASKS: '2', SLURM_PROCID: '0' }
    expect(() => findLauncher(env)).toThrow(errorWith('runtime', '2 tasks'))
  })
})
