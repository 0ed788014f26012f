/** What became of one half of a case. */
export type Outcome =
  | { readonly result: 'passed'; readonly note?: string }
  /** Nothing to check: no floating-point input or output. */
  | { readonly result: 'nothing' }
  /** It cannot be checked, or not be done, for a reason that is no fault of the library. */
  | { readonly result: 'exception'; readonly reason: string; readonly detail: string }
  | { readonly result: 'failed'; readonly detail: string }

export interface CaseOutcome {
  readonly name: string
  readonly operators: readonly string[]
  readonly forward: Outcome
  readonly gradient: Outcome
}

export const exception = (reason: string, detail: string): Outcome => ({ result: 'exception', reason, detail })
export const failed = (detail: string): Outcome => ({ result: 'failed', detail })
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
