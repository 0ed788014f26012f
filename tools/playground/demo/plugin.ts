import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Plugin } from 'vite'

const name = 'virtual:demo'
const path = (file: string) => fileURLToPath(new URL(file, import.meta.url))

/** Provides `virtual:demo`: script and style of the page that runs a tuned model, as text. */
export function demo(): Plugin {
  return {
    name: 'playground-demo',
    resolveId: (id) => (id === name ? `\0${name}` : undefined),
    load: async (id) => {
      if (id !== `\0${name}`) return undefined
      const options = { bundle: true, format: 'esm', minify: true, target: 'es2023', write: false } as const
      const built = await build({ entryPoints: [path('main.ts')], ...options })
      const content = { script: built.outputFiles[0]!.text, style: await readFile(path('style.css'), 'utf8') }
      return `export default ${JSON.stringify(content)}`
    },
  }
}
