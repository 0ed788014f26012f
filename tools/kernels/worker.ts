import type { Probe } from './form.js'
import { type RuntimeName, starters } from './runtimes.js'

/** A process for one runtime, which may take it down: answers every probe with what became of it. */
const prober = starters[process.argv[2] as RuntimeName]()
process.on('message', async (probe: Probe) => process.send!(await (await prober)(probe)))
