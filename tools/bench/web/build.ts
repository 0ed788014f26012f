import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, preview } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Builds the page into `folder`, with the files that the libraries load at run time. */
export async function buildPage(folder: string): Promise<void> {
  const peers = here('../peers/node_modules')
  await build({
    configFile: false,
    root: here('page'),
    base: './',
    logLevel: 'error',
    // jax-js does not export its package.json.
    resolve: { alias: { '@jax-js/jax/package.json': join(peers, '@jax-js/jax/package.json') } },
    build: {
      outDir: folder,
      emptyOutDir: false,
      target: 'es2023',
      assetsInlineLimit: 0,
      chunkSizeWarningLimit: 30_000,
    },
  })
  mkdirSync(join(folder, 'tfjs'))
  for (const dist of ['tfjs', 'tfjs-backend-wasm', 'tfjs-backend-webgpu'].map((name) =>
    join(peers, '@tensorflow', name, 'dist'),
  ))
    for (const file of readdirSync(dist).filter(
      (name) => name.endsWith('.wasm') || /^tf(-backend-\w+)?\.min\.js$/.test(name),
    ))
      copyFileSync(join(dist, file), join(folder, 'tfjs', file))
}

/** Serves a folder with the headers that threads require. */
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
