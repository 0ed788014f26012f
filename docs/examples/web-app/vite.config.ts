import { defineConfig } from 'vite'

/** Headers of a cross-origin isolated page, which threads of WebAssembly need. Your own server has to send them too. */
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
}

export default defineConfig({
  // Without this, Vite puts the worker and everything that it loads later into one file.
  worker: { format: 'es' },
  server: { headers },
  preview: { headers },
})
