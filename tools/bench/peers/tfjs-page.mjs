import { tfjsSteps } from './tfjs-steps.mjs'

/** Starts training with TensorFlow.js in a page, on its backend 'wasm', 'webgpu', 'webgl' or 'cpu'. */
export async function start(read, backend) {
  // Loaded as separate scripts: the wasm threads start from their source text, which bundling would change.
  for (const file of ['tf', 'tf-backend-wasm', 'tf-backend-webgpu']) await loadScript(`./tfjs/${file}.min.js`)
  const { tf } = globalThis
  tf.wasm.setWasmPaths('./tfjs/')
  tf.wasm.setThreadsCount(navigator.hardwareConcurrency)
  tf.enableProdMode()
  if (!(await tf.setBackend(backend))) throw new Error('the backend is not available')
  await tf.ready()
  let training
  try {
    training = tfjsSteps(tf, read)
  } catch (error) {
    tf.disposeVariables()
    throw error
  }
  const threads = backend === 'wasm' ? `, ${navigator.hardwareConcurrency} threads requested` : ''
  return { about: `TensorFlow.js ${tf.version.tfjs}, ${backend}${threads}`, ...training }
}

const loadScript = (src) =>
  new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.onload = resolve
    script.onerror = () => reject(new Error(`cannot load ${src}`))
    script.src = src
    document.head.append(script)
  })
