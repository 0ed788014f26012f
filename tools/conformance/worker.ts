import { type Case, NotTensors, readCase } from './case.js'
import { checkForward } from './forward.js'
import { checkGradient } from './gradient.js'
import { type CaseOutcome, exception, failed, messageOf, type Outcome } from './outcome.js'

/** Worker process that checks one case per message. If a case crashes the process, the parent reports the case. */
const data = process.argv[2]!
process.on('message', async (name: string) => process.send!(await outcomeOf(name)))

async function outcomeOf(name: string): Promise<CaseOutcome> {
  let case_: Case
  try {
    case_ = readCase(data, name)
  } catch (error) {
    const outcome =
      error instanceof NotTensors
        ? exception('inputs or outputs that are not tensors', messageOf(error))
        : /does not carry|convert it to another type/.test(messageOf(error))
          ? exception('element type not carried', messageOf(error))
          : failed(messageOf(error))
    return { name, operators: [], forward: outcome, gradient: outcome }
  }
  const forward = await guarded(() => checkForward(case_))
  if (forward.result === 'exception' && /not read|not carried/.test(forward.reason))
    return { name, operators: case_.operators, forward, gradient: forward }
  const checked = await guarded(() => checkGradient(case_))
  const refused = forward.result === 'exception' && /refuses/.test(forward.reason)
  const gradient = refused && checked.result === 'failed' ? exception(forward.reason, forward.detail) : checked
  return { name, operators: case_.operators, forward, gradient }
}

async function guarded(check: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await check()
  } catch (error) {
    return failed(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
}
