import { readFileSync } from 'node:fs'
import { defaultDevice, init, jit, lax, nn, numpy as np, tree, valueAndGrad } from '@jax-js/jax'
import { readProblem } from '../problem.ts'
import { say, serve } from '../protocol.ts'
import { models } from './jax-models.mjs'

/** jax-js's side: `jax.mjs FOLDER`, on its wasm backend. The whole step is one compiled function. */
const { problem, tensor } = readProblem(process.argv[2])
const { lr, betas, eps, weightDecay } = problem.adamw

const uploaded = (place) => {
  const { dtype, dims, data } = tensor(place)
  return np.array(dtype === 'int64' ? Int32Array.from(data, Number) : data).reshape(dims)
}
const model = models[problem.model]

function lossOf(weights, x, labels) {
  const logits = model({ np, nn, lax }, weights, x, problem.sizes)
  const classes = logits.shape.at(-1)
  const logP = nn.logSoftmax(logits.reshape([-1, classes]), -1)
  return logP.mul(nn.oneHot(labels.flatten(), classes)).sum(-1).mean().neg()
}

/** AdamW; `rate` and `scale` are lr / (1 - beta1^t) and 1 / (1 - beta2^t). */
const step = jit((weights, first, second, rate, scale, x, labels) => {
  const [loss, gradients] = valueAndGrad(lossOf)(tree.ref(weights), x, labels)
  const next = { weights: {}, first: {}, second: {} }
  for (const name of Object.keys(weights)) {
    const g = gradients[name]
    const m = first[name].mul(betas[0]).add(g.ref.mul(1 - betas[0]))
    const v = second[name].mul(betas[1]).add(g.ref.mul(g).mul(1 - betas[1]))
    const moved = m.ref.mul(rate.ref).div(np.sqrt(v.ref.mul(scale.ref)).add(eps))
    next.weights[name] = weights[name].mul(1 - lr * weightDecay).sub(moved)
    next.first[name] = m
    next.second[name] = v
  }
  rate.dispose()
  scale.dispose()
  return [loss, next]
})

let state
let batches
let done = 0
/** Losses of steps that no turn has asked for yet: compiling takes the first one. */
const taken = []
async function take() {
  const { labels, ...inputs } = batches[done % batches.length]
  const [x] = Object.values(inputs)
  done++
  const rate = np.array(lr / (1 - betas[0] ** done))
  const scale = np.array(1 / (1 - betas[1] ** done))
  const [loss, next] = step(state.weights, state.first, state.second, rate, scale, x.ref, labels.ref)
  state = next
  const [value] = await loss.data()
  taken.push(value)
}

const started = (make) => Object.fromEntries(problem.trained.map((name) => [name, make(problem.weights[name])]))
try {
  await init('wasm')
  defaultDevice('wasm')
  state = {
    weights: started(uploaded),
    first: started(({ dims }) => np.zeros(dims)),
    second: started(({ dims }) => np.zeros(dims)),
  }
  batches = problem.batches.map((batch) =>
    Object.fromEntries(Object.entries(batch).map(([name, place]) => [name, uploaded(place)])),
  )
  await take()
} catch (error) {
  say({ unable: `wasm backend: ${String(error.message).split('\n')[0].slice(0, 160)}` })
  process.exit()
}
const { version } = JSON.parse(readFileSync(new URL('node_modules/@jax-js/jax/package.json', import.meta.url), 'utf8'))
const parameters = Object.values(state.weights).reduce((sum, { size }) => sum + size, 0)
await serve({ about: `jax-js ${version}, wasm`, parameters }, async (steps) => {
  while (taken.length < steps) await take()
  return { losses: taken.splice(0) }
})
