import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { mkdtemp, readdir, readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { TrainingResult } from '../../src/cli/training/training-request.js'
import { type Job, type LauncherName, launchers, startJob } from '../node/mpi/job.js'
import { needs } from '../requirements.js'
import { json, program } from './command.js'
import { type Workspace, workspace } from './workspace.js'

let space: Workspace
beforeAll(async () => {
  space = await workspace()
})
afterAll(() => space.remove())

/** Numbers of the steps in the log of a run. */
async function stepsOf(folder: string): Promise<number[]> {
  const text = await readFile(`${folder}/metrics.jsonl`, 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => line.startsWith('{"kind":"step"') && line.endsWith('}'))
    .map((line) => (JSON.parse(line) as { step: number }).step)
}

/** Waits until the log of a job's run has a step, or the job has ended. */
async function waitForStep(folder: string, step: number, { ended }: Job): Promise<void> {
  let isOver = false
  void ended.then(() => {
    isOver = true
  })
  while (!isOver && ((await stepsOf(folder)).at(-1) ?? 0) < step) await delay(50)
}

/** The process of Node of a rank of the job that trains in a folder. */
function pidOf(folder: string, rank: number): number {
  const found = pidsOf(folder, [`OMPI_COMM_WORLD_RANK=${rank}`, `PMI_RANK=${rank}`])
  expect(found).toHaveLength(1)
  return found[0]!
}

/** The processes of Node that train in a folder, with one of these variables in their environment if any are given. */
function pidsOf(folder: string, variables: readonly string[] = []): number[] {
  const node = realpathSync(process.execPath)
  const found = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      const [command, environment] = ['cmdline', 'environ'].map((file) =>
        readFileSync(`/proc/${name}/${file}`, 'latin1'),
      )
      const entries = environment!.split('\0')
      return (
        readlinkSync(`/proc/${name}/exe`) === node &&
        command!.split('\0').includes(folder) &&
        (variables.length === 0 || variables.some((variable) => entries.includes(variable)))
      )
    } catch {
      return false // it has ended, or belongs to another user
    }
  })
  return found.map(Number)
}

/** Processes that wait for each other take long if they share a core. */
const timeout = 600_000
const openMpi = await needs('Open MPI')
const mpich = await needs('MPICH')
const memoryDisk = await needs('memory disk')

describe('train in several processes', { timeout }, () => {
  it('saves on SIGUSR1, ends if a rank is killed, and resumes with another number of ranks', openMpi, async () => {
    const recipe = await space.writeRecipe('long.json', {
      ...{
        steps: 100_000,
        epochs: undefined,
        evaluateEvery: 40,
        checkpoints: { everySteps: 10 },
        best: true,
        ema: 0.9,
      },
    })
    const folder = space.path('long')
    const args = ['train', recipe, '--out', folder, '--json', '--quiet', '--shard-optimizer']

    const startTraining = () => {
      const job = startJob('Open MPI', 2, [program, ...args, '--resume-if-started'])
      onTestFinished(() => job.stop())
      return job
    }
    const first = startTraining()
    await waitForStep(folder, 5, first)
    execFileSync('kill', ['-USR1', String(first.pid)])
    const saved = await first.ended
    expect(saved.code).toBe(130)
    const { interrupted, step } = JSON.parse(saved.stdout) as TrainingResult
    expect(interrupted).toBe(true)
    expect((await readdir(`${folder}/checkpoints`)).at(-1)).toContain(`0${step}.safetensors`)

    const second = startTraining()
    await waitForStep(folder, step + 15, second)
    process.kill(pidOf(folder, 1), 'SIGKILL')
    expect((await second.ended).code).not.toBe(0)
    // The launcher may end before the last process, which has locked the folder.
    await expect.poll(() => pidsOf(folder)).toEqual([])

    const steps = (await stepsOf(folder)).at(-1)! + 20
    const result = await json<TrainingResult>(...args, '--resume', '--set', `steps=${steps}`)
    expect(result).toMatchObject({ interrupted: false, step: steps })
    expect(await stepsOf(folder)).toEqual(Array.from({ length: steps }, (_, i) => i + 1))
  })

  it('trains the model that one process trains', mpich, async () => {
    const recipe = await space.writeRecipe('short.json', { best: true })
    const args = ['train', recipe, '--json', '--quiet', '--out']
    const alone = await json<TrainingResult>(...args, space.path('alone'))
    const { code, stdout, stderr } = await startJob('MPICH', 2, [program, ...args, space.path('two')]).ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const together = JSON.parse(stdout) as TrainingResult
    expect(together.validation!.loss).toBeCloseTo(alone.validation!.loss, 5)
    expect(together.validation!.accuracy).toBe(alone.validation!.accuracy)
    expect(together.best!.step).toBe(alone.best!.step)
  })

  it('trains in rounds of local steps, with gradients in 16 bits', mpich, async () => {
    const recipe = await space.writeRecipe('rounds.json', {
      best: true,
      localSteps: { steps: 3 },
      gradientCompression: 'bfloat16',
    })
    const args = ['train', recipe, '--json', '--quiet', '--out']
    const alone = await json<TrainingResult>(...args, space.path('rounds-alone'))
    const { code, stdout, stderr } = await startJob('MPICH', 2, [program, ...args, space.path('rounds-two')]).ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const together = JSON.parse(stdout) as TrainingResult
    expect(together.step).toBe(alone.step)
    expect(together.validation!.count).toBe(alone.validation!.count)
    // Each process steps on half of each batch.
    expect(together.validation!.loss).not.toBeCloseTo(alone.validation!.loss, 5)
    expect(together.epochs[1]!.loss).toBeLessThan(together.epochs[0]!.loss)
  })
})

for (const launcher of Object.keys(launchers) as LauncherName[])
  describe(`a full disk with ${launcher}`, { ...(await needs(launcher)), timeout }, () => {
    it('ends all processes if the disk of rank 0 is full', memoryDisk, async () => {
      const recipe = await space.writeRecipe('full.json', { epochs: 1000, checkpoints: { everySteps: 3 } })
      const folder = await mkdtemp(space.path('full-'))
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=40k', 'none', folder])
      try {
        const { code, stderr } = await startJob(launcher, 2, [program, 'train', recipe, '--out', folder]).ended
        expect(code).not.toBe(0)
        expect(stderr).toContain('the disk is full')
        await expect.poll(() => pidsOf(folder)).toEqual([])
      } finally {
        execFileSync('umount', ['-l', folder])
      }
    })
  })
