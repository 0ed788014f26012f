import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { TrialProgress, TrialReply, TrialRequest } from './trial-process.js'

const entry = fileURLToPath(new URL('./trial-process.js', import.meta.url))

/** Characters of the errors of a process that are kept. */
const maxErrors = 2000

/**
 * Processes that train trials, each one trial at a time. A process that crashes ends its own trial only; the next trial
 * gets another process.
 */
export class TrialPool {
  readonly #idle: ChildProcess[] = []
  readonly #busy = new Set<ChildProcess>()

  /** Trains a trial in a process of its own. */
  train(request: TrialRequest, onProgress: (progress: TrialProgress) => void): Promise<TrialReply> {
    const child = this.#idle.pop() ?? fork(entry, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [] })
    this.#busy.add(child)
    return new Promise((resolve) => {
      let errors = ''
      const onErrors = (chunk: Buffer) => {
        errors = (errors + chunk).slice(-maxErrors)
      }
      const finish = (reply: TrialReply, isAlive: boolean) => {
        child.off('message', onMessage).off('exit', onExit).off('error', onError)
        child.stderr?.off('data', onErrors)
        this.#busy.delete(child)
        if (isAlive) this.#idle.push(child)
        resolve(reply)
      }
      const onMessage = (message: TrialReply | TrialProgress) => {
        if (message.kind === 'progress') onProgress(message)
        else finish(message, true)
      }
      const onExit = (code: number | null, signal: string | null) => {
        const how = signal === null ? `with exit code ${code}` : `by ${signal}`
        const message = `the process was ended ${how}, possibly for lack of memory. ${errors}`.trim()
        finish({ kind: 'failed', code: 'unexpected', message }, false)
      }
      const onError = (error: Error) => finish({ kind: 'failed', code: 'unexpected', message: error.message }, false)
      child.on('message', onMessage).on('exit', onExit).on('error', onError)
      child.stderr?.on('data', onErrors)
      child.send(request)
    })
  }

  /** Ends the current trials after their next step; they are saved. */
  stop(): void {
    for (const child of this.#busy) child.send('stop')
  }

  /** Ends the processes. */
  close(): void {
    for (const child of this.#idle.splice(0)) child.kill('SIGKILL')
    for (const child of this.#busy) child.disconnect()
  }
}
