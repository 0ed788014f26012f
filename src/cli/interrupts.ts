import type { Io } from './io.js'

/** Thrown by a command that was interrupted and has already reported it: the exit code is 130. */
export class Interrupted extends Error {}

/** The exit code of an interrupted command: 128 + SIGINT, by convention. */
export const interruptedExitCode = 130

/** State of the signals that end a running command: SIGINT, SIGTERM, SIGHUP and SIGUSR1. */
interface Interrupts {
  readonly signal: { readonly aborted: boolean }
  /** Restores the default handling of signals. */
  release(): void
}

/**
 * Handles SIGINT, SIGTERM, SIGHUP and SIGUSR1: the first sets `signal.aborted`, and the second SIGINT or SIGTERM ends
 * the process at once. The others never do: a closed terminal sends several, also together with a SIGTERM.
 * @param onFirst called at the first signal
 */
export function onInterrupt(io: Pick<Io, 'onSignal' | 'exit'>, onFirst: () => void): Interrupts {
  const signal = { aborted: false }
  let requests = 0
  const release = io.onSignal((name) => {
    if ((name === 'SIGINT' || name === 'SIGTERM') && ++requests > 1) return io.exit(interruptedExitCode)
    if (signal.aborted) return
    signal.aborted = true
    onFirst()
  })
  return { signal, release }
}

/** Signals of a command that works in a locked folder. */
interface GuardedSignals {
  readonly io: Pick<Io, 'onSignal' | 'exit'>
  /** Restores the default handling of signals. */
  release(): void
}

/**
 * Ends the process by `exit` at a signal that nothing else handles. By default a signal ends it without its exit
 * handlers, which unlock folders.
 * @param onExit called before the end of the process
 */
export function exitOnSignals(io: Pick<Io, 'onSignal' | 'exit'>, onExit: () => void): GuardedSignals {
  const guard = () =>
    io.onSignal(() => {
      onExit()
      io.exit(interruptedExitCode)
    })
  let release = guard()
  return {
    io: {
      onSignal(listener) {
        release()
        const remove = io.onSignal(listener)
        return () => {
          remove()
          release = guard()
        }
      },
      exit: io.exit,
    },
    release: () => release(),
  }
}
