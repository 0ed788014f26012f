import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from 'onnx-ire/data'
import type { Opened, Workplace } from '../campaign.js'
import { Verdict } from '../judge.js'
import { digestFolder, type Finished, run, start } from './commands.js'
import {
  cacheReferences,
  differences,
  finish,
  type Reference,
  type Scenario,
  scenarios,
  writeInputs,
} from './scenarios.js'
import { findSlowDiskObstacle, mountSlowDisk } from './slow-disk.js'

/** A defect of the place where a command writes. */
interface Defect {
  readonly name: string
  /** The kind of disk that is mounted for it. */
  readonly disk?: 'memory' | 'slow'
  run(at: Place, verdict: Verdict, random: Random): Promise<void>
}

interface Place {
  readonly scenario: Scenario
  readonly reference: Reference
  readonly inputs: string
  /** A folder of the case. */
  readonly outputs: string
}

const mount = (...args: readonly string[]) => execFileSync('mount', args, { stdio: 'ignore' })
const unmount = (folder: string) => execFileSync('umount', ['-l', folder], { stdio: 'ignore' })

/** The reason why no disk of memory can be mounted. */
const findMemoryDiskObstacle = (folder: string): string | undefined => {
  try {
    mount('-t', 'tmpfs', '-o', 'size=64k', 'none', folder)
    unmount(folder)
    return undefined
  } catch {
    return 'mounting is not permitted'
  }
}

const defects: readonly Defect[] = [
  {
    name: 'full disk',
    disk: 'memory',
    async run({ scenario, reference, inputs, outputs }, verdict, random) {
      // Sizes from nothing to about all that the command writes.
      const size = 2 ** Math.floor(12 + 11 * random.uniform()) + 4096 * random.integer(16)
      mount('-t', 'tmpfs', '-o', `size=${size}`, 'none', outputs)
      try {
        const output = join(outputs, scenario.output)
        const first = await run(scenario.args(inputs, output))
        checkRefusal(verdict, `${scenario.name} on a full disk`, first)
        mount('-o', 'remount,size=64m', outputs)
        const last = await finish(inputs, output, scenario)
        verdict.expect(last.code === 0, `${scenario.name} does not end when there is room again`, () => last.stderr)
        for (const [what, paths] of await differences(outputs, reference))
          verdict.expect(false, `${scenario.name}: ${what} after a full disk`, () => paths)
      } finally {
        unmount(outputs)
      }
    },
  },
  {
    name: 'read-only disk',
    disk: 'memory',
    async run({ scenario, inputs, outputs }, verdict) {
      mount('-t', 'tmpfs', '-o', 'size=64m', 'none', outputs)
      try {
        const output = join(outputs, scenario.output)
        const begun = await run(scenario.args(inputs, output))
        verdict.expect(begun.code === 0, `${scenario.name} fails on a new disk`, () => begun.stderr)
        const before = await digestFolder(outputs)
        mount('-o', 'remount,ro', outputs)
        const last = await run(scenario.again?.(inputs, output) ?? scenario.args(inputs, output))
        checkRefusal(verdict, `${scenario.name} on a read-only disk`, last)
        verdict.expect(
          JSON.stringify(await digestFolder(outputs)) === JSON.stringify(before),
          `${scenario.name} has changed a read-only disk`,
        )
      } finally {
        unmount(outputs)
      }
    },
  },
  {
    name: 'slow disk',
    disk: 'slow',
    async run({ scenario, reference, inputs, outputs }, verdict, random) {
      // A checkpoint takes longer than the steps until the next one.
      const disk = mountSlowDisk(outputs, Math.floor(2 ** (20 + 3 * random.uniform())))
      try {
        const output = join(outputs, scenario.output)
        const killed = start(scenario.args(inputs, output), disk.shell)
        await delay(4000 * reference.seconds * random.uniform())
        killed.process.kill('SIGKILL')
        await killed.finished
        const last = await finish(inputs, output, scenario, disk.shell)
        verdict.expect(last.code === 0, `${scenario.name} does not end on a slow disk`, () => last.stderr)
        for (const [what, paths] of await differences(outputs, reference))
          verdict.expect(false, `${scenario.name}: ${what} after a kill on a slow disk`, () => paths)
      } finally {
        disk.unmount()
      }
    },
  },
  {
    name: 'limited file size',
    async run({ scenario, reference, inputs, outputs }, verdict, random) {
      const output = join(outputs, scenario.output)
      // Blocks of 512 bytes.
      const first = await run(scenario.args(inputs, output), `ulimit -f ${random.integer(256)}; exec "$@"`)
      checkRefusal(verdict, `${scenario.name} with a limited file size`, first)
      const last = await finish(inputs, output, scenario)
      verdict.expect(last.code === 0, `${scenario.name} does not end without the limit`, () => last.stderr)
      for (const [what, paths] of await differences(outputs, reference))
        verdict.expect(false, `${scenario.name}: ${what} after a limited file size`, () => paths)
    },
  },
  {
    name: 'full standard output',
    async run({ scenario, inputs, outputs }, verdict) {
      const output = join(outputs, scenario.output)
      const { code, signal, stderr } = await run(scenario.args(inputs, output), '"$@" > /dev/full')
      verdict.expect(
        code === 1 && signal === null && !/^\s+at /m.test(stderr),
        `${scenario.name} to a full standard output: no typed error`,
        () => `ended with ${signal ?? code}: ${stderr}`,
      )
    },
  },
]

/** A command that lacks room ends well or with exit code 1 and a typed error. */
function checkRefusal(verdict: Verdict, what: string, { code, signal, stdout, stderr }: Finished): void {
  if (code === 0) return
  const error = /"code": "([\w-]+)"/.exec(stdout)?.[1]
  verdict.expect(
    code === 1 && error !== undefined && error !== 'unexpected',
    `${what}: no typed error`,
    () => `ended with ${signal ?? code}: ${stderr}`,
  )
}

/** Commands that write to disks without room, read-only and slow ones, and full standard output. */
export async function open({ folder }: Workplace): Promise<Opened> {
  const inputs = await mkdtemp(join(folder, 'inputs-'))
  await writeInputs(inputs)
  const trial = await mkdtemp(join(folder, 'mount-'))
  const obstacles = { memory: findMemoryDiskObstacle(trial), slow: findSlowDiskObstacle(trial) }
  const referenceOf = cacheReferences(folder, inputs)
  return {
    async make(seed, random) {
      const scenario = scenarios[seed % scenarios.length]!
      const defect = defects[Math.floor(seed / scenarios.length) % defects.length]!
      const reference = await referenceOf(scenario)
      return {
        title: `${scenario.name}: ${defect.name}`,
        async run(enter) {
          const obstacle = defect.disk && obstacles[defect.disk]
          if (obstacle !== undefined) return { ended: `skipped (${defect.name}: ${obstacle})`, faults: [] }
          const verdict = new Verdict(enter)
          const outputs = await mkdtemp(join(folder, 'disk-'))
          enter(defect.name)
          await defect.run({ scenario, reference, inputs, outputs }, verdict, random)
          await rm(outputs, { recursive: true })
          return verdict.outcome()
        },
      }
    },
  }
}
