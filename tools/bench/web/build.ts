import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, preview } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Builds the page into `folder`, with the files that the libraries load by themselves. */
export async function buildPage(folder: string): Promise<void> {
  const { peers } = { peers: here('../peers/node_modules') }
  await build({
    configFile: false,
    root: here('page'),
    base: './',
    logLevel: 'error',
    // jax-js keeps its package.json to itself.
    resolve: { alias: { '@jax-js/jax/package.json': join(peers, '@jax-js/jax/package.json') } },
    build: {
      outDir: folder,
      emptyOutDir: false,
      target: 'es2023',
      assetsInlineLimit: 0,
      chunkSizeWarningLimit: 30_000,
    },
  })
  const wasm = join(peers, '@tensorflow/tfjs-backend-wasm/dist')
  mkdirSync(join(folder, 'tfjs'))
  for (const file of readdirSync(wasm).filter((name) => name.endsWith('.wasm')))
    copyFileSync(join(wasm, file), join(folder, 'tfjs', file))
}

/** Serves it with the headers that threads need. */
export async function servePage(folder: string): Promise<{ url: string; close(): Promise<void> }> {
  const server = await preview({
    configFile: false,
    root: folder,
    logLevel: 'error',
    build: { outDir: folder },
    preview: {
      port: 0,
      headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
    },
  })
  return { url: server.resolvedUrls!.local[0]!, close: () => server.close() }
}
