import { jit, lax, nn, numpy as np, tree, valueAndGrad } from '@jax-js/jax'
import { models } from './jax-js-models.mjs'

/** Training with jax-js on its default device: `{ parameters, step }`. The whole step is one compiled function. */
export function jaxSteps({ problem, tensor }) {
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
  const update = jit((weights, first, second, rate, scale, x, labels) => {
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

  const started = (make) => Object.fromEntries(problem.trained.map((name) => [name, make(problem.weights[name])]))
  let state = {
    weights: started(uploaded),
    first: started(({ dims }) => np.zeros(dims)),
    second: started(({ dims }) => np.zeros(dims)),
  }
  const batches = problem.batches.map((batch) =>
    Object.fromEntries(Object.entries(batch).map(([name, place]) => [name, uploaded(place)])),
  )
  let done = 0
  async function step() {
    const { labels, ...inputs } = batches[done % batches.length]
    const [x] = Object.values(inputs)
    done++
    const rate = np.array(lr / (1 - betas[0] ** done))
    const scale = np.array(1 / (1 - betas[1] ** done))
    const [loss, next] = update(state.weights, state.first, state.second, rate, scale, x.ref, labels.ref)
    state = next
    const [value] = await loss.data()
    return value
  }
  return { parameters: Object.values(state.weights).reduce((sum, { size }) => sum + size, 0), step }
}
