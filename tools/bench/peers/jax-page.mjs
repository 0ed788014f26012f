import { defaultDevice, init } from '@jax-js/jax'
import { version } from '@jax-js/jax/package.json'
import { jaxSteps } from './jax-steps.mjs'

/** jax-js in a page, on its backend 'wasm' or 'webgpu'. */
export async function start(read, backend) {
  const there = await init(backend)
  if (!there.includes(backend)) throw new Error('the backend does not start')
  defaultDevice(backend)
  const { parameters, step } = jaxSteps(read)
  // The first step compiles; its loss is handed out when it is asked for.
  const first = [await step()]
  return {
    about: `jax-js ${version}, ${backend}`,
    parameters,
    step: async () => first.pop() ?? step(),
  }
}
