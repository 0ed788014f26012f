import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Probe } from './form.js'
import type { Prober, RuntimeName, Trial } from './runtimes.js'

/** Time limit of a probe in ms; shaders of a software GPU compile slowly. */
const patience = 120_000

/** A runtime in a separate process, which is replaced after every failure, since a failure may corrupt it. */
export function startProber(runtime: RuntimeName): { readonly prober: Prober; readonly end: () => void } {
  let child: ChildProcess | undefined
  const start = () =>
    fork(fileURLToPath(new URL('worker.ts', import.meta.url)), [runtime], {
      execArgv: ['--import', 'tsx'],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
  const end = () => {
    child?.kill('SIGKILL')
    child = undefined
  }
  return {
    prober: async (probe) => {
      child ??= start()
      const trial = await answer(child, probe)
      if (trial.outcome.startsWith('fails')) end()
      return trial
    },
    end,
  }
}

function answer(child: ChildProcess, probe: Probe): Promise<Trial> {
  return new Promise((resolve) => {
    const finish = (trial: Trial) => {
      clearTimeout(timer)
      child.off('message', onMessage).off('exit', onExit)
      resolve(trial)
    }
    const failed = (how: string) => finish({ outcome: `fails: ${how}`, outputs: [] })
    const onMessage = (message: unknown) => finish(message as Trial)
    const onExit = (code: number | null, signal: string | null) => failed(`the process ends with ${signal ?? code}`)
    const timer = setTimeout(() => failed(`no answer in ${patience / 1000} s`), patience)
    child.once('message', onMessage).once('exit', onExit)
    child.send(probe)
  })
}
