import { byId } from './dom.js'

/** Stores the files of the page for use without a network, and reports when all are stored. */
export async function installOffline(): Promise<void> {
  const note = byId('offline')
  if (import.meta.env.MODE === 'development') return
  if (!navigator.serviceWorker) {
    note.textContent = 'Opened over https or from localhost, this page also works without a network.'
    return
  }
  try {
    await navigator.serviceWorker.register('./offline.js')
    await navigator.serviceWorker.ready
    note.textContent = 'All of this page is here now: it works without a network.'
  } catch (error) {
    note.textContent = `This page needs a network connection: it could not be stored (${(error as Error).message}).`
  }
}
