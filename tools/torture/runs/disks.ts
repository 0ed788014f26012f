import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Random } from 'onnx-ire/data'
import type { Opened, Workplace } from '../campaign.js'
import { Verdict } from '../judge.js'
import { digestFolder, type Finished, run } from './commands.js'
import {
  cacheReferences,
  differences,
  finish,
  type Reference,
  type Scenario,
  scenarios,
  writeInputs,
} from './scenarios.js'

/** A defect of the place where a command writes. */
interface Defect {
  readonly name: string
  readonly needsMount: boolean
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

const canMount = (folder: string): boolean => {
  try {
    mount('-t', 'tmpfs', '-o', 'size=64k', 'none', folder)
    unmount(folder)
    return true
  } catch {
    return false
  }
}

const defects: readonly Defect[] = [
  {
    name: 'full disk',
    needsMount: true,
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
    needsMount: true,
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
    name: 'limited file size',
    needsMount: false,
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
    needsMount: false,
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

/** Commands that write to disks without room, read-only ones, and full standard output. */
export async function open({ folder }: Workplace): Promise<Opened> {
  const inputs = await mkdtemp(join(folder, 'inputs-'))
  await writeInputs(inputs)
  const mounts = canMount(await mkdtemp(join(folder, 'mount-')))
  const referenceOf = cacheReferences(folder, inputs)
  return {
    async make(seed, random) {
      const scenario = scenarios[seed % scenarios.length]!
      const defect = defects[Math.floor(seed / scenarios.length) % defects.length]!
      const reference = await referenceOf(scenario)
      return {
        title: `${scenario.name}: ${defect.name}`,
        async run(enter) {
          if (defect.needsMount && !mounts)
            return { ended: `skipped (${defect.name}: mounting is not permitted)`, faults: [] }
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
