import { tfjsSteps } from './tfjs-steps.mjs'

/** TensorFlow.js in a page, on its backend 'wasm', 'webgpu', 'webgl' or 'cpu'. */
export async function start(read, backend) {
  // As its own scripts: the threads of its wasm start from their text, which no bundler may touch.
  for (const file of ['tf', 'tf-backend-wasm', 'tf-backend-webgpu']) await loaded(`./tfjs/${file}.min.js`)
  const { tf } = globalThis
  tf.wasm.setWasmPaths('./tfjs/')
  tf.wasm.setThreadsCount(navigator.hardwareConcurrency)
  tf.enableProdMode()
  if (!(await tf.setBackend(backend))) throw new Error('the backend does not start')
  await tf.ready()
  let training
  try {
    training = tfjsSteps(tf, read)
  } catch (error) {
    tf.disposeVariables()
    throw error
  }
  const threads = backend === 'wasm' ? `, ${navigator.hardwareConcurrency} threads asked for` : ''
  return { about: `TensorFlow.js ${tf.version.tfjs}, ${backend}${threads}`, ...training }
}

const loaded = (src) =>
  new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.onload = resolve
    script.onerror = () => reject(new Error(`${src} does not load`))
    script.src = src
    document.head.append(script)
  })
