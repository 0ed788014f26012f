/// <reference lib="webworker" />

/** Keeps the page's own files in the browser, so that it works without a network: nothing else is kept or fetched. */
const worker = globalThis as unknown as ServiceWorkerGlobalScope

/** Written by the build: another name, and so another worker, whenever a file has changed. */
declare const __PAGE__: { readonly version: string; readonly files: readonly string[] }
const page = __PAGE__
const prefix = 'onnx-ire-playground-'
const version = prefix + page.version

worker.addEventListener('install', (event) => {
  // What the page has just loaded comes from the browser's own cache.
  event.waitUntil(caches.open(version).then((cache) => cache.addAll(page.files)))
})

worker.addEventListener('activate', (event) => {
  const tidy = async () => {
    for (const name of await caches.keys()) if (name.startsWith(prefix) && name !== version) await caches.delete(name)
    await worker.clients.claim()
  }
  event.waitUntil(tidy())
})

worker.addEventListener('fetch', (event) => {
  const { request } = event
  if (request.method !== 'GET' || new URL(request.url).origin !== worker.location.origin) return
  const answer = async () => {
    const cache = await caches.open(version)
    return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request)
  }
  event.respondWith(answer())
})
