import { escapeControls } from '../util/printable.js'

/** An output stream; a terminal has `isTTY`. */
export type Output = NodeJS.WritableStream & { readonly isTTY?: boolean }

/** The streams and signals of one command: those of the process, or replacements in a test. */
export interface Io {
  /** Results: text for people, or one JSON document. */
  readonly stdout: Output
  /** Progress, notes and errors. */
  readonly stderr: Output
  /** Input of a conversation. */
  readonly stdin: NodeJS.ReadableStream
  /**
   * Calls `listener` with every SIGINT, SIGTERM, SIGHUP (a closed terminal) and SIGUSR1 (a scheduler before it ends a
   * job), until the returned function is called.
   */
  onSignal(listener: (signal: NodeJS.Signals) => void): () => void
  /** Ends the process at once. */
  exit(code: number): void
}

/** The streams and signals of this process. */
export const processIo: Io = {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  onSignal(listener) {
    const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP']
    if (process.platform !== 'win32') signals.push('SIGUSR1')
    for (const signal of signals) process.on(signal, listener)
    return () => {
      for (const signal of signals) process.off(signal, listener)
    }
  },
  exit: (code) => process.exit(code),
}

/** Writes text with its control characters escaped: names from files could otherwise control a terminal. */
export const writeText = (stream: Output, text: string): void => {
  stream.write(escapeControls(text))
}

/** Prints the result of a command: one JSON document if `json` is set, else text. */
export function print(io: Io, result: object, json: boolean | undefined, text: () => string): void {
  writeText(io.stdout, `${json ? JSON.stringify(result, null, 2) : text()}\n`)
}
