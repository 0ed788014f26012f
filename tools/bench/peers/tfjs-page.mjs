import * as tf from '@tensorflow/tfjs'
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'
import '@tensorflow/tfjs-backend-webgpu'
import { tfjsSteps } from './tfjs-steps.mjs'

/** TensorFlow.js in a page, on its backend 'wasm', 'webgpu', 'webgl' or 'cpu'. */
export async function start(read, backend) {
  setWasmPaths('./tfjs/')
  tf.enableProdMode()
  if (!(await tf.setBackend(backend))) throw new Error('the backend does not start')
  await tf.ready()
  return { about: `TensorFlow.js ${tf.version.tfjs}, ${backend}`, ...tfjsSteps(tf, read) }
}
