import { readFileSync } from 'node:fs'
import { defaultDevice, init } from '@jax-js/jax'
import { readProblem } from '../problem.ts'
import { say, serve } from '../protocol.ts'
import { jaxSteps } from './jax-steps.mjs'

/** jax-js's side: `jax.mjs FOLDER`, on its wasm backend. */
/** Losses of steps that no turn has asked for yet: compiling takes the first one. */
const taken = []
let training
try {
  await init('wasm')
  defaultDevice('wasm')
  training = jaxSteps(readProblem(process.argv[2]))
  taken.push(await training.step())
} catch (error) {
  say({ unable: `wasm backend: ${String(error.message).split('\n')[0].slice(0, 160)}` })
  process.exit()
}
const { parameters, step } = training
const { version } = JSON.parse(readFileSync(new URL('node_modules/@jax-js/jax/package.json', import.meta.url), 'utf8'))
await serve({ about: `jax-js ${version}, wasm`, parameters }, async (steps) => {
  while (taken.length < steps) taken.push(await step())
  return { losses: taken.splice(0) }
})
