import type { Calls, Reopened } from '../protocol.js'
import { byId } from './dom.js'
import { runGuarded, showStatus } from './status.js'

/**
 * Offers to resume a training run whose page the browser closed, which happens to tabs hidden for long. If there are
 * several, the newest is offered first.
 */
export async function offerResume(calls: Calls, goOn: (reopened: Reopened) => Promise<void>): Promise<void> {
  const panel = byId('unfinished')
  let id = ''
  const offer = async () => {
    const found = await calls.unfinished()
    panel.hidden = found === null
    if (found === null) return
    id = found.id
    byId('unfinished-text').textContent =
      `A training run of ${found.model} was unfinished when its page was closed. It is stored in this browser.`
  }
  byId('go-on').addEventListener('click', () =>
    runGuarded(null, async () => {
      panel.hidden = true
      showStatus('Reading the model and the data again ...')
      await goOn(await calls.reopen(id))
    }),
  )
  byId('forget-unfinished').addEventListener('click', () =>
    runGuarded(null, async () => {
      panel.hidden = true
      await calls.forget(id)
      showStatus('It is forgotten. Open a model to begin.')
      await offer()
    }),
  )
  await offer()
}
