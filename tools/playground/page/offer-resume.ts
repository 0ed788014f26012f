import type { Calls, Reopened } from '../protocol.js'
import { byId } from './dom.js'
import { titleOf } from './model-panel.js'
import { runGuarded, showStatus } from './status.js'

/**
 * Offers to resume a training run that was unfinished when its page was closed, or to go on with examples that were not
 * trained on. If there are several, the newest is offered first.
 */
export async function offerResume(calls: Calls, goOn: (reopened: Reopened) => Promise<void>): Promise<void> {
  const panel = byId('unfinished')
  let id = ''
  const offer = async () => {
    const found = await calls.unfinished()
    panel.hidden = found === null
    if (found === null) return
    id = found.id
    byId('unfinished-text').textContent = found.isBegun
      ? `A training run of ${titleOf(found.model)} was unfinished when its page was closed. It is stored in this browser.`
      : 'The examples that you showed in an earlier visit are stored in this browser. No model has learned them yet.'
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
      showStatus('It is forgotten. Choose a story, or open a model of your own.')
      await offer()
    }),
  )
  await offer()
}
