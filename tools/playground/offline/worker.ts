/// <reference lib="webworker" />

/** Service worker that caches the files of the page for use without a network; it caches and fetches nothing else. */
const worker = globalThis as unknown as ServiceWorkerGlobalScope

/** Name of the cache, set by the build: it changes, and with it the worker, whenever a file changes. */
declare const __PAGE__: { readonly version: string; readonly files: readonly string[] }
const page = __PAGE__
const prefix = 'onnx-ire-playground-'
const version = prefix + page.version

worker.addEventListener('install', (event) => {
  // Files that the page has just loaded come from the HTTP cache.
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
