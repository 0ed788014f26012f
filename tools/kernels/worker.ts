import type { Probe } from './form.js'
import { type RuntimeName, starters } from './runtimes.js'

/** Worker process for one runtime, which may crash it: answers every probe with its outcome. */
const prober = starters[process.argv[2] as RuntimeName]()
process.on('message', async (probe: Probe) => process.send!(await (await prober)(probe)))
