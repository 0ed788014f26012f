import { OnnxIreError } from 'onnx-ire'
import type { Fault, Outcome } from './campaign.js'

/** Longest message of an error in characters: messages are cut at 2,000, with a note of what was left out. */
const longestMessage = 2200

/** Judges an error: undefined if it is as promised, an `OnnxIreError` with a short message that blames no bug. */
export function judge(error: unknown, stage: string): Fault | undefined {
  if (!(error instanceof Error)) return { cause: `${stage}: no Error was thrown`, detail: String(error) }
  const text = error.message
  const detail = `${stage}: ${error.name}: ${clip(text)}`
  if (!(error instanceof OnnxIreError)) return { cause: `untyped ${error.name} at ${topFrame(error)}`, detail }
  const where = `'${error.code}' at ${topFrame(error)}`
  if (text.length > longestMessage) return { cause: `message of over ${longestMessage} characters, ${where}`, detail }
  if (/\bbug (of|in) onnx-ire\b/.test(text)) return { cause: `message that blames onnx-ire, ${where}`, detail }
  return undefined
}

/** Collects the outcome of the stages of a case. */
export class Verdict {
  readonly #enter: (stage: string) => void
  readonly #faults: Fault[] = []
  #ended = 'accepted'

  constructor(enter: (stage: string) => void) {
    this.#enter = enter
  }

  /** Runs a stage. Returns undefined if it threw; its error is judged. */
  stage<T>(name: string, action: () => T): T | undefined {
    this.#enter(name)
    try {
      return action()
    } catch (error) {
      this.#thrown(error, name)
      return undefined
    }
  }

  /** Runs an asynchronous stage, like `stage`. */
  async asyncStage<T>(name: string, action: () => Promise<T>): Promise<T | undefined> {
    this.#enter(name)
    try {
      return await action()
    } catch (error) {
      this.#thrown(error, name)
      return undefined
    }
  }

  #thrown(error: unknown, stage: string): void {
    const fault = judge(error, stage)
    if (fault) this.#faults.push(fault)
    if (this.#ended === 'accepted') this.#ended = error instanceof OnnxIreError ? error.code : 'untyped'
  }

  /** Records a fault unless `isRight`. */
  expect(isRight: boolean, cause: string, detail: () => string = () => ''): void {
    if (!isRight) this.#faults.push({ cause, detail: clip(detail()) })
  }

  /** The code of the first error; undefined if there was none. */
  get code(): string | undefined {
    return this.#ended === 'accepted' ? undefined : this.#ended
  }

  outcome(): Outcome {
    return { ended: this.#ended, faults: this.#faults }
  }
}

/**
 * The function and file of the innermost stack frame in the library; line numbers are left out, so that groups last.
 */
function topFrame(error: Error): string {
  const frames = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '))
  const own = frames.find((line) => /\/(dist|src)\//.test(line) && !line.includes('node_modules')) ?? frames[0]
  if (!own) return 'an unknown place'
  const [, name, path] = /at (?:async )?(?:(.*?) \()?(?:file:\/\/)?([^()]*?)(?::\d+)*\)?$/.exec(own) ?? []
  return `${name ?? '(anonymous)'} in ${path?.replace(/^.*\/(?:dist|src)\//, '') ?? '?'}`
}

/** The beginning of a text, with control characters escaped. */
export const clip = (text: string, length = 400): string => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  const safe = text.slice(0, length).replace(/[\x00-\x1f\x7f-\x9f]/g, (c) => JSON.stringify(c).slice(1, -1))
  return text.length > length ? `${safe}... (${text.length} characters)` : safe
}
