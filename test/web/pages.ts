import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { entryAliases } from '../entry-aliases.js'
import { sharedBuild } from '../shared-build.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Builds the pages with the compiled library as an application would, once per run; returns their folder. */
export const buildPages = (): Promise<string> => sharedBuild('pages', buildInto)

async function buildInto(folder: string): Promise<void> {
  const { build } = await import('vite')
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
    build: {
      outDir: folder,
      emptyOutDir: true,
      minify: false,
      target: 'es2023',
      chunkSizeWarningLimit: 10_000,
      rollupOptions: { input: ['index.html', 'chat/index.html'].map((page) => join(root, 'test/web/pages', page)) },
    },
  })
}
