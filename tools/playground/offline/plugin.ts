import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import type { Plugin } from 'vite'

/** Builds the service worker with the list of files to cache. */
export function offline(): Plugin {
  return {
    name: 'playground-offline',
    apply: 'build',
    enforce: 'post',
    buildStart() {
      const id = fileURLToPath(new URL('./worker.ts', import.meta.url))
      this.emitFile({ type: 'chunk', id, fileName: 'offline.js' })
    },
    generateBundle(_, bundle) {
      const own = bundle['offline.js']
      if (own?.type !== 'chunk') throw new Error('the service worker was not built')
      const hash = createHash('sha256')
      const names = Object.keys(bundle).filter((name) => name !== 'offline.js' && !name.endsWith('.map'))
      for (const name of names.sort()) {
        const file = bundle[name]!
        hash.update(name).update(file.type === 'chunk' ? file.code : file.source)
      }
      const page = { version: hash.digest('hex').slice(0, 16), files: ['./', ...names] }
      own.code = own.code.replaceAll('__PAGE__', JSON.stringify(page))
    },
  }
}
