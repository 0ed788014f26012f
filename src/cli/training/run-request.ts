import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from '../../node/files/files.js'

/** Request of another process to the process that trains in a folder: to save a checkpoint, or to save one and end. */
export type RunRequest = 'save' | 'stop'

const requestPath = (folder: string): string => join(folder, 'request')

/** Sends a request to the process that trains in a folder, as a file that it looks for after every step. */
export const sendRequest = (folder: string, request: RunRequest): Promise<void> =>
  writeFileAtomic(requestPath(folder), request)

/** Milliseconds between two looks for a request. */
const interval = 100

/** Requests of other processes to the run in a folder. */
export class RequestReader {
  readonly #path: string
  #next = 0
  #isSaveDue = false
  #isStopDue = false

  /** Removes a request that an earlier process was sent. */
  constructor(folder: string) {
    this.#path = requestPath(folder)
    rmSync(this.#path, { force: true })
  }

  /** Whether the run is to end. */
  get isStopDue(): boolean {
    this.#look()
    return this.#isStopDue
  }

  /** Returns whether a checkpoint is to be saved, once per request. */
  takeSave(): boolean {
    this.#look()
    const isDue = this.#isSaveDue
    this.#isSaveDue = false
    return isDue
  }

  #look(): void {
    if (performance.now() < this.#next) return
    this.#next = performance.now() + interval
    if (!existsSync(this.#path)) return
    const request = readFileSync(this.#path, 'utf8').trim()
    rmSync(this.#path, { force: true })
    if (request === 'stop') this.#isStopDue = true
    if (request === 'save') this.#isSaveDue = true
  }
}
