/** Outcome of the forward or the gradient check of a case. */
export type Outcome =
  | { readonly result: 'passed'; readonly note?: string }
  /** Not applicable: no floating-point input or output. */
  | { readonly result: 'nothing' }
  /** Not checked, for a reason outside of the library. */
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
