import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from 'onnx-ire/data'
import type { Opened, Workplace } from '../campaign.js'
import { Verdict } from '../judge.js'
import { pick } from '../random.js'
import { type Finished, type Running, start } from './commands.js'
import { cacheReferences, differences, finish, type Scenario, scenarios, writeInputs } from './scenarios.js'

/** Ways to disturb a command. A terminal that closes sends SIGHUP and ends the reader of the output. */
const disturbances = ['SIGKILL', 'SIGKILL', 'SIGKILL', 'SIGINT', 'SIGTERM', 'SIGHUP', 'closed output'] as const
type Disturbance = (typeof disturbances)[number]

/**
 * Commands that are killed, interrupted or lose their terminal, and then repeated: the result is the undisturbed one.
 */
export async function open({ folder }: Workplace): Promise<Opened> {
  const inputs = await mkdtemp(join(folder, 'inputs-'))
  await writeInputs(inputs)
  const referenceOf = cacheReferences(folder, inputs)
  return {
    async make(seed, random) {
      const scenario = scenarios[seed % scenarios.length]!
      const reference = await referenceOf(scenario)
      const plan = Array.from({ length: 1 + random.integer(3) }, () => ({
        how: pick(random, disturbances),
        ...drawMoment(random),
      }))
      return {
        title: `${scenario.name}: ${plan.map(({ how }) => how).join(', ')}`,
        async run(enter) {
          const verdict = new Verdict(enter)
          const outputs = await mkdtemp(join(folder, 'kill-'))
          const output = join(outputs, scenario.output)
          for (const [i, { how, fromStart, share }] of plan.entries()) {
            enter(`${how} of ${scenario.name}`)
            const command = start(
              scenario.again && existsSync(join(output, 'recipe.json'))
                ? scenario.again(inputs, output)
                : scenario.args(inputs, output),
            )
            if (!fromStart) await appears(output, command)
            await delay(1100 * reference.seconds * share)
            const ended = await disturb(command, how)
            checkEnd(verdict, scenario, how, ended, `disturbance ${i}`)
          }
          enter('finish')
          const last = await finish(inputs, output, scenario)
          verdict.expect(last.code === 0, `${scenario.name} does not end after a disturbance`, () => last.stderr)
          for (const [what, paths] of await differences(outputs, reference))
            verdict.expect(false, `${scenario.name}: ${what} after a disturbance`, () => paths)
          await rm(outputs, { recursive: true })
          return verdict.outcome()
        },
      }
    },
  }
}

/** Half of the moments count from the start of the process, half from the first file that it writes. */
const drawMoment = (random: Random) => ({ fromStart: random.integer(2) === 0, share: random.uniform() ** 2 })

async function appears(path: string, { process }: Running): Promise<void> {
  while (!existsSync(path) && process.exitCode === null && process.signalCode === null) await delay(2)
}

async function disturb({ process, finished }: Running, how: Disturbance): Promise<Finished> {
  if (how === 'closed output') {
    process.stdout?.destroy()
    process.stderr?.destroy()
  } else process.kill(how)
  return finished
}

/** A killed command ends by the signal; an interrupted one saves and ends with 130; without a reader it goes on. */
function checkEnd(verdict: Verdict, { name, again }: Scenario, how: Disturbance, ended: Finished, when: string): void {
  const { code, signal, stderr } = ended
  const is = () => `${when}: ended with ${signal ?? code}: ${stderr.slice(-300)}`
  verdict.expect(!/unexpected/.test(stderr), `${name}: unexpected error after ${how}`, is)
  if (how === 'closed output') verdict.expect(code === 0, `${name} ends when its output has no reader`, is)
  else if (how !== 'SIGKILL')
    // Before and after the training itself a signal ends the process; short commands do not handle signals.
    verdict.expect(
      code === 0 || code === 130 || signal === how || (again === undefined && code === 1),
      `${name}: wrong end after ${how}`,
      is,
    )
}
