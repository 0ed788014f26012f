import { readFileSync } from 'node:fs'
import { defaultDevice, init } from '@jax-js/jax'
import { readProblem } from '../problem.ts'
import { send, serve } from '../protocol.ts'
import { jaxSteps } from './jax-js-steps.mjs'

// The contender of jax-js: `jax-js.mjs FOLDER`, on its wasm backend.

/** Losses that no turn has returned yet: the first step is taken early, to compile it. */
const losses = []
let training
try {
  await init('wasm')
  defaultDevice('wasm')
  training = jaxSteps(readProblem(process.argv[2]))
  losses.push(await training.step())
} catch (error) {
  send({ unable: `wasm backend: ${String(error.message).split('\n')[0].slice(0, 160)}` })
  process.exit()
}
const { parameters, step } = training
const { version } = JSON.parse(readFileSync(new URL('node_modules/@jax-js/jax/package.json', import.meta.url), 'utf8'))
await serve({ about: `jax-js ${version}, wasm`, parameters }, async (steps) => {
  while (losses.length < steps) losses.push(await step())
  return { losses: losses.splice(0) }
})
