import type { Io } from './io.js'

/** Thrown by a command that was interrupted and has already reported it: the exit code is 130. */
export class Interrupted extends Error {}

/** The exit code of an interrupted command: 128 + SIGINT, by convention. */
export const interruptedExitCode = 130

/** State of SIGINT and SIGTERM for a running command. */
export interface Interrupts {
  readonly signal: { readonly aborted: boolean }
  /** Restores the default handling of signals. */
  release(): void
}

/**
 * Handles SIGINT and SIGTERM: the first sets `signal.aborted`, the second ends the process at once.
 * @param onFirst called at the first signal
 */
export function onInterrupt(io: Pick<Io, 'onSignal' | 'exit'>, onFirst: () => void): Interrupts {
  const signal = { aborted: false }
  const release = io.onSignal(() => {
    if (signal.aborted) return io.exit(interruptedExitCode)
    signal.aborted = true
    onFirst()
  })
  return { signal, release }
}
