import type { ProviderName } from '../protocol.js'
import { byId } from './dom.js'

/**
 * Stores the files of the page for use without a network, and of onnxruntime the build of the provider that is chosen:
 * WebAssembly until a run has chosen automatically.
 */
export async function installOffline(): Promise<void> {
  const provider = document.getElementById('provider') as HTMLSelectElement | null
  const storeChosen = () => storeRuntime(provider?.value === 'webgpu' ? 'webgpu' : 'wasm')
  provider?.addEventListener('change', () => void storeChosen())
  await storeChosen()
  if (import.meta.env.MODE !== 'development' && navigator.serviceWorker && !crossOriginIsolated) await isolate()
}

/** Stores the files of the page and the build of onnxruntime for a provider; reports when all are stored. */
export async function storeRuntime(provider: ProviderName): Promise<void> {
  const note = byId('offline')
  if (import.meta.env.MODE === 'development') return
  if (!navigator.serviceWorker) {
    note.textContent = 'Opened over https or from localhost, this page also works without a network.'
    return
  }
  try {
    await navigator.serviceWorker.register('./offline.js')
    await storeBuild((await navigator.serviceWorker.ready).active!, provider)
    note.textContent = 'All of this page is here now: it works without a network.'
  } catch (error) {
    note.textContent = `This page needs a network connection: it could not be stored (${(error as Error).message}).`
  }
}

/**
 * Loads the page again with the headers of the service worker, which give threads to WebAssembly, unless somebody has
 * begun to use the page.
 */
async function isolate(): Promise<void> {
  const { serviceWorker } = navigator
  if (!serviceWorker.controller)
    await new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }))
  const isUsed = document.body.dataset['view'] !== 'start' || document.body.ariaBusy === 'true'
  // Once per tab: a browser that ignores the headers would load the page forever.
  if (isUsed || sessionStorage.getItem(loadedAgain)) return
  sessionStorage.setItem(loadedAgain, 'yes')
  location.reload()
}

const loadedAgain = 'onnx-ire-loaded-again'

/** Asks the service worker for the files of a provider; rejects if they cannot be stored. */
function storeBuild(worker: ServiceWorker, provider: ProviderName): Promise<void> {
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
