import type { Calls, Reopened } from '../protocol.js'
import { byId } from './dom.js'
import { runGuarded, showStatus } from './status.js'

/** Offers to resume a training run whose page the browser closed, which happens to tabs hidden for long. */
export async function offerResume(calls: Calls, goOn: (reopened: Reopened) => Promise<void>): Promise<void> {
  const model = await calls.unfinished()
  if (model === null) return
  const panel = byId('unfinished')
  byId('unfinished-text').textContent =
    `A training run of ${model} was unfinished when its page was closed. It is stored in this browser.`
  panel.hidden = false
  byId('go-on').addEventListener('click', () =>
    runGuarded(null, async () => {
      panel.hidden = true
      showStatus('Reading the model and the data again ...')
      await goOn(await calls.reopen())
    }),
  )
  byId('forget-unfinished').addEventListener('click', () =>
    runGuarded(null, async () => {
      await calls.forget()
      panel.hidden = true
      showStatus('It is forgotten. Open a model to begin.')
    }),
  )
}
