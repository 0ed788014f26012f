import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { readProblem } from '../problem.ts'
import { send, serve } from '../protocol.ts'
import { tfjsSteps } from './tfjs-steps.mjs'

/** The contender of TensorFlow.js: `tfjs.mjs FOLDER wasm|cpu`. In Node the wasm backend has a single thread. */
const [folder, backend] = process.argv.slice(2)
const require = createRequire(import.meta.url)
const tf = require('@tensorflow/tfjs')
const wasm = require('@tensorflow/tfjs-backend-wasm')
wasm.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json'))}/dist/`)
tf.enableProdMode()
await tf.setBackend(backend)
await tf.ready()

let training
try {
  training = tfjsSteps(tf, readProblem(folder))
} catch (error) {
  send({ unable: `${backend} backend: ${String(error.message).split('\n')[0].slice(0, 160)}` })
  process.exit()
}
const { parameters, step } = training
await serve({ about: `TensorFlow.js ${tf.version.tfjs}, ${backend}, 1 thread`, parameters }, async (steps) => {
  const losses = []
  while (losses.length < steps) losses.push(await step())
  return { losses }
})
