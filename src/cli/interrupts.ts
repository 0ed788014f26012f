/** What Ctrl-C has come to. */
export interface Interrupts {
  readonly signal: { readonly aborted: boolean }
  /** Leaves signals to Node again. */
  release(): void
}

/** 128 + SIGINT, as shells count. */
export const interrupted = 130

/**
 * From now on the first SIGINT or SIGTERM asks for a stop at the next good moment, and the second ends the process at once.
 * @param onFirst told of the first
 */
export function onInterrupt(onFirst: () => void): Interrupts {
  const signal = { aborted: false }
  const handle = () => {
    if (signal.aborted) process.exit(interrupted)
    signal.aborted = true
    onFirst()
  }
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const name of signals) process.on(name, handle)
  return {
    signal,
    release: () => {
      for (const name of signals) process.off(name, handle)
    },
  }
}
