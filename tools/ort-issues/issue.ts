/** The builds of onnxruntime that issues are about: an npm package and an execution provider. */
export const providers = ['cpu', 'node-webgpu', 'web-wasm', 'web-webgpu', 'cuda'] as const
export type ProviderName = (typeof providers)[number]

/** The comparison of what onnxruntime did with what it should do. */
export interface Finding {
  /** Whether the issue occurred. */
  readonly present: boolean
  /** The measured values behind `present`, in one sentence. */
  readonly detail: string
}

/** Tools of a reproducer that may end its process or never return. */
interface Watch {
  /**
   * Marks the point up to which everything worked. The end of the process, or silence until the time limit, counts as
   * the issue only after this call.
   */
  arm(detail: string): Promise<void>
}

/** A minimal program on plain onnxruntime that shows whether an issue is still there. */
export interface Reproducer {
  /** Throws `NotTested` if this machine lacks a requirement. */
  readonly run: (watch: Watch) => Promise<Finding>
  /**
   * The form of the issue: a wrong result that `run` returns (default), the end of the process, or a call that never
   * returns.
   */
  readonly symptom?: 'crash' | 'hang'
  /** The time limit in seconds. Default: 60. */
  readonly limit?: number
}

/** Reproducers by the slug of their issue. */
export type Reproducers = Readonly<Record<string, Reproducer>>

/** The error of a reproducer whose requirements this machine lacks. */
export class NotTested extends Error {}

export const verdicts = ['still there', 'fixed', 'not tested here'] as const

/** The outcome of one reproducer. */
export interface Verdict {
  readonly slug: string
  readonly provider: ProviderName
  readonly verdict: (typeof verdicts)[number]
  /** The measured values, or the reason why the issue was not tested. */
  readonly detail: string
  readonly seconds: number
}

/** Shortens an error of onnxruntime to its first line. */
export function firstLine(error: unknown, length = 160): string {
  const text = (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, ' ').trim()
  return text.length > length ? `${text.slice(0, length - 3)}...` : text
}

/**
 * Builds the finding of an issue that shows as an error: present if `attempt` throws for this reason. Any other error
 * is a fault of the reproducer and is thrown again.
 */
export async function throwing(attempt: () => Promise<unknown>, reason: RegExp): Promise<Finding> {
  try {
    await attempt()
    return { present: false, detail: 'no error' }
  } catch (error) {
    const text = firstLine(error, 2000)
    if (error instanceof NotTested || !reason.test(text)) throw error
    return { present: true, detail: shorten(text) }
  }
}

/** Removes the code locations that onnxruntime puts before its reasons. */
const shorten = (text: string): string =>
  firstLine(
    text
      .replace(/^Non-zero status code returned while running (\w+) node\. Name:'[^']*' Status Message:\s*/, '$1: ')
      .replace(/^Exception during initialization:\s*/, '')
      .replace(/\/onnxruntime_src\/\S+:\d+ (?:.*?\w\([^)]*\)(?: const)? )?/, ''),
  )
