import { byId } from './dom.js'

/** Keeps the page's files for when there is no network, and says when they are all here. */
export async function keepOffline(): Promise<void> {
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
    note.textContent = `This page needs the network: it could not be kept (${(error as Error).message}).`
  }
}
