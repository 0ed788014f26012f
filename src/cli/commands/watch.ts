import type { Command } from 'commander'
import { requirePlots } from '../../node/plot.js'
import { onInterrupt } from '../interrupts.js'
import { type Io, print } from '../io.js'
import { jsonOption, parsePort } from '../options.js'
import { serveRuns } from '../watch/serve-runs.js'

interface Options {
  readonly port: number
  readonly json?: true
}

/** Defines `onnx-ire watch`. */
export function defineWatch(program: Command, io: Io): void {
  program
    .command('watch')
    .description('follow and compare runs on a page of this machine; save or stop a running one')
    .argument('[runs...]', 'run folders, or folders with run folders in them', ['runs'])
    .option('--port <port>', 'port of the page; 0 for any free one', parsePort, 0)
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The page contains what plot writes, and is renewed when a run writes a step or an evaluation. New runs in the
folders appear. Each run has its recipe and the commands that repeat, resume or export it. The address, which
is reachable from this machine only, contains a random token: keep it secret, since it allows to stop runs.
Ctrl-C ends the page, not the runs. Charts need echarts: npm install echarts

Examples:
  $ onnx-ire watch
  $ onnx-ire watch runs/a runs/b --port 8123`,
    )
    .action(async (paths: string[], { port, json }: Options) => {
      requirePlots()
      const server = await serveRuns(paths, port)
      const interrupted = new Promise<void>((resolve) => {
        const interrupts = onInterrupt(io, () => {
          interrupts.release()
          resolve()
        })
      })
      try {
        print(io, { url: server.url }, json, () => `following ${paths.join(', ')}: open ${server.url}`)
        await interrupted
      } finally {
        await server.close()
      }
    })
}
