import { defaultDevice, init } from '@jax-js/jax'
import { version } from '@jax-js/jax/package.json'
import { jaxSteps } from './jax-js-steps.mjs'

/** Starts training with jax-js in a page, on its backend 'wasm' or 'webgpu'. */
export async function start(read, backend) {
  const available = await init(backend)
  if (!available.includes(backend)) throw new Error('the backend is not available')
  defaultDevice(backend)
  const { parameters, step } = jaxSteps(read)
  // The first step is taken now, to compile it; the first call of `step` returns its loss.
  const first = [await step()]
  return {
    about: `jax-js ${version}, ${backend}`,
    parameters,
    step: async () => first.pop() ?? step(),
  }
}
