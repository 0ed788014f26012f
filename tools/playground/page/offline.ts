import { byId } from './dom.js'

/**
 * Stores the files of the page for use without a network, and of onnxruntime the build for the provider that is chosen;
 * reports when all are stored.
 */
export async function installOffline(): Promise<void> {
  const note = byId('offline')
  if (import.meta.env.MODE === 'development') return
  if (!navigator.serviceWorker) {
    note.textContent = 'Opened over https or from localhost, this page also works without a network.'
    return
  }
  const provider = document.getElementById('provider') as HTMLSelectElement | null
  const store = async () => {
    try {
      await navigator.serviceWorker.register('./offline.js')
      await storeBuild((await navigator.serviceWorker.ready).active!, provider?.value ?? 'wasm')
      note.textContent = 'All of this page is here now: it works without a network.'
    } catch (error) {
      note.textContent = `This page needs a network connection: it could not be stored (${(error as Error).message}).`
    }
  }
  provider?.addEventListener('change', () => void store())
  await store()
}

/** Asks the service worker for the files of a provider; rejects if they cannot be stored. */
function storeBuild(worker: ServiceWorker, provider: string): Promise<void> {
  const { port1, port2 } = new MessageChannel()
  return new Promise((resolve, reject) => {
    port1.onmessage = ({ data }: MessageEvent<string | null>) => {
      port1.close()
      if (data === null) resolve()
      else reject(new Error(data))
    }
    worker.postMessage({ provider }, [port2])
  })
}
