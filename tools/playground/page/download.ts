import { createElement } from './dom.js'

/** Saves a file among the downloads. */
export function download(name: string, content: Uint8Array | Blob): void {
  const blob = content instanceof Blob ? content : new Blob([content as Uint8Array<ArrayBuffer>])
  const href = URL.createObjectURL(blob)
  createElement('a', { href, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(href), 60_000)
}
