import { models } from './tfjs-models.mjs'

/** Training with TensorFlow.js on the current backend: `{ parameters, step }`; `step` returns the loss. */
export function tfjsSteps(tf, { problem, tensor }) {
  const { lr, betas, eps, weightDecay } = problem.adamw
  const uploaded = (place) => {
    const { dtype, dims, data } = tensor(place)
    return dtype === 'int64' ? tf.tensor(Int32Array.from(data, Number), dims, 'int32') : tf.tensor(data, dims)
  }
  const weights = Object.fromEntries(
    problem.trained.map((name) => [name, tf.variable(uploaded(problem.weights[name]), true, name)]),
  )
  const moments = Object.fromEntries(
    problem.trained.map((name) => [name, [0, 1].map(() => tf.variable(tf.zerosLike(weights[name]), false))]),
  )
  const batches = problem.batches.map((batch) =>
    Object.fromEntries(Object.entries(batch).map(([name, place]) => [name, uploaded(place)])),
  )
  const model = models[problem.model]

  function lossOf({ labels, ...inputs }) {
    const logits = model(tf, weights, Object.values(inputs)[0], problem.sizes)
    const classes = logits.shape.at(-1)
    return tf.losses.softmaxCrossEntropy(tf.oneHot(labels.flatten(), classes), logits.reshape([-1, classes]))
  }

  // Throws if the backend lacks a gradient.
  tf.tidy(() => void tf.variableGrads(() => lossOf(batches[0])))

  let done = 0
  /** AdamW, which tfjs lacks: the formula of its Adam with decoupled weight decay. */
  async function step() {
    const { value, grads } = tf.tidy(() => tf.variableGrads(() => lossOf(batches[done % batches.length])))
    done++
    tf.tidy(() => {
      for (const [name, gradient] of Object.entries(grads)) {
        const [first, second] = moments[name]
        first.assign(first.mul(betas[0]).add(gradient.mul(1 - betas[0])))
        second.assign(second.mul(betas[1]).add(gradient.square().mul(1 - betas[1])))
        const root = second.div(1 - betas[1] ** done).sqrt()
        const moved = first.mul(lr / (1 - betas[0] ** done)).div(root.add(eps))
        weights[name].assign(weights[name].mul(1 - lr * weightDecay).sub(moved))
      }
    })
    const [loss] = await value.data()
    tf.dispose([value, grads])
    return loss
  }
  return { parameters: problem.trained.reduce((sum, name) => sum + weights[name].size, 0), step }
}
