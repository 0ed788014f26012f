import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { entryAliases } from '../entry-aliases.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Builds the pages with the compiled library as an application would, and says in which folder they are. */
export async function buildPages(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-pages-'))
  await build({
    configFile: false,
    root: join(root, 'test/web/pages'),
    base: './',
    logLevel: 'error',
    resolve: {
      alias: [
        { find: /^(\.\.\/)+src\//, replacement: `${root}dist/` },
        { find: /^(\.\.\/)+models\//, replacement: `${root}dist/models/` },
        ...entryAliases(root),
      ],
    },
    worker: { format: 'es' },
    build: { outDir: folder, emptyOutDir: true, minify: false, target: 'es2023', chunkSizeWarningLimit: 10_000 },
  })
  return folder
}
