import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'
import { demo } from './demo/plugin.js'
import { digits } from './digits-plugin.js'
import { offline } from './offline/plugin.js'

/** Headers of a cross-origin isolated page, which threads of WebAssembly need. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
}

/** A static page: `npm run playground` serves it for development, `npm run playground:build` writes dist. */
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  plugins: [digits(), demo(), offline()],
  assetsInclude: ['**/*.onnx'],
  worker: { format: 'es', plugins: () => [demo()] },
  server: { headers: isolation },
  preview: { headers: isolation },
  optimizeDeps: {
    exclude: ['onnxruntime-web', 'onnx-ire'],
    // If the dependencies were discovered late, vite would reload the page.
    entries: ['index.html', 'worker/worker.ts', '../../dist/index.js', '../../dist/web/index.js'],
  },
  build: { outDir: 'dist', emptyOutDir: true, target: 'es2023', assetsInlineLimit: 0, chunkSizeWarningLimit: 30_000 },
})
