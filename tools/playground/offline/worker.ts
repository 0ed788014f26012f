/// <reference lib="webworker" />

import type { OfflineFiles } from './plugin.js'

/**
 * Service worker that caches the files of the page for use without a network, and of onnxruntime those builds that are
 * chosen. It caches nothing else.
 */
const worker = globalThis as unknown as ServiceWorkerGlobalScope

/** List of files, set by the build. */
declare const __FILES__: OfflineFiles
const files = __FILES__
const prefix = 'onnx-ire-playground-'
/** Name of the cache: it changes, and with it the worker, whenever a file changes. */
const version = prefix + files.version

const addressOf = (name: string) => new URL(name, worker.location.href).href
const ofBuilds = new Set(Object.values(files.builds).flat().map(addressOf))

worker.addEventListener('install', (event) => {
  const install = async () => {
    const cache = await caches.open(version)
    // Files that the page has just loaded come from the HTTP cache, except those without a hash of their content in their
    // names: an old page there would be stored as the new one, and its other files are no longer on the server.
    const hasHash = (name: string) => name.startsWith('assets/')
    await cache.addAll(files.page.map((name) => (hasHash(name) ? name : new Request(name, { cache: 'no-cache' }))))
    // A new version of the page keeps the builds of onnxruntime that have not changed.
    for (const address of ofBuilds) {
      const stored = await caches.match(address)
      if (stored) await cache.put(address, stored)
    }
  }
  event.waitUntil(install())
})

worker.addEventListener('activate', (event) => {
  const tidy = async () => {
    for (const name of await caches.keys()) if (name.startsWith(prefix) && name !== version) await caches.delete(name)
    await worker.clients.claim()
  }
  event.waitUntil(tidy())
})

/** Stores the build that this browser runs for a provider, and replies with the reason if that fails. */
worker.addEventListener('message', (event: ExtendableMessageEvent) => {
  const { provider } = event.data as { readonly provider: 'wasm' | 'webgpu' }
  const build = provider === 'wasm' ? 'wasm' : 'Suspending' in WebAssembly ? 'jspi' : 'asyncify'
  const store = async () => {
    const cache = await caches.open(version)
    for (const name of files.builds[build]) if (!(await cache.match(addressOf(name)))) await cache.add(name)
  }
  event.waitUntil(
    store().then(
      () => event.ports[0]?.postMessage(null),
      (error: Error) => event.ports[0]?.postMessage(error.message),
    ),
  )
})

worker.addEventListener('fetch', (event) => {
  const { request } = event
  if (request.method !== 'GET' || new URL(request.url).origin !== worker.location.origin) return
  const answer = async () => {
    const cache = await caches.open(version)
    const stored = await cache.match(request, { ignoreSearch: true })
    if (stored) return isolated(stored)
    return isolated(await fetch(request))
  }
  event.respondWith(answer())
})

/** A response with the headers of a cross-origin isolated page, so that WebAssembly has threads on any static server. */
function isolated(response: Response): Response {
  if (response.type !== 'basic' && response.type !== 'default') return response
  const headers = new Headers(response.headers)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  const { body, status, statusText } = response
  // A redirected response is not allowed for a navigation; a copy of it is.
  return new Response(isEmpty.has(status) ? null : body, { status, statusText, headers })
}

/** Statuses of responses that must not have a body. */
const isEmpty: ReadonlySet<number> = new Set([101, 204, 205, 304])
