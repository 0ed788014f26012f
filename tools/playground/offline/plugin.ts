import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import type { Plugin } from 'vite'

/** The builds of onnxruntime, of which a browser needs one: its files are stored when a runtime is chosen. */
const builds = {
  jspi: /(^|\/)ort(-wasm-[a-z-]+)?\.jspi\b/,
  asyncify: /(^|\/)(ort-wasm-[a-z-]+\.asyncify|ort\.webgpu)\b/,
  wasm: /(^|\/)(ort-wasm-simd-threaded-|ort\.wasm\.)/,
}

/** Files of the page by what needs them: the page itself, or a build of onnxruntime. */
export interface OfflineFiles {
  /** Changes whenever a file changes. */
  readonly version: string
  readonly page: readonly string[]
  readonly builds: Readonly<Record<keyof typeof builds, readonly string[]>>
}

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
      const files: OfflineFiles = {
        version: hash.digest('hex').slice(0, 16),
        page: ['./', ...names.filter((name) => !Object.values(builds).some((build) => build.test(name)))],
        builds: {
          jspi: names.filter((name) => builds.jspi.test(name)),
          asyncify: names.filter((name) => builds.asyncify.test(name)),
          wasm: names.filter((name) => builds.wasm.test(name)),
        },
      }
      for (const [build, list] of Object.entries(files.builds))
        if (!list.some((name) => name.endsWith('.wasm')))
          throw new Error(`no file of onnxruntime's build '${build}' is in the page`)
      own.code = own.code.replaceAll('__FILES__', JSON.stringify(files))
    },
  }
}
