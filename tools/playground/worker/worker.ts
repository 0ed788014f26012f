import type { Calls, Reply, Request } from '../protocol.js'
import { toFailure } from './failure.js'
import { Session } from './session.js'
import { confineThreads } from './threads.js'

confineThreads()
const say = (message: Reply) => postMessage(message)
const session: Calls = new Session(say)

addEventListener('message', async ({ data: { id, call, args } }: MessageEvent<Request>) => {
  try {
    const method = session[call] as (...args: readonly unknown[]) => Promise<unknown>
    say({ id, value: await method.apply(session, args as unknown[]) })
  } catch (error) {
    say({ id, error: toFailure(error) })
  }
})
