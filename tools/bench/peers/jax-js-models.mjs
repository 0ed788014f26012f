/**
 * The models of tools/bench on jax-js: `({ np, nn, lax }, weights, x, sizes) => logits`. A function releases the
 * arrays passed to it; `.ref` adds a reference for another use.
 */
export const models = { mlp, lenet, resnet, vit, llama }

const linear = ({ np }, w, name, x) => np.matmul(x, w[`${name}.weight`].transpose()).add(w[`${name}.bias`])

/** x W + b over the last axis; weights [from, to]. */
function projection({ np }, w, name, x) {
  const y = np.matmul(x, w[`${name}.weight`])
  const bias = w[`${name}.bias`]
  return bias ? y.add(bias) : y
}

function mlp(jax, w, x) {
  const { relu } = jax.nn
  const y = relu(linear(jax, w, 'hidden1', relu(linear(jax, w, 'hidden0', x))))
  return linear(jax, w, 'head', y)
}

function lenet(jax, w, x) {
  const { np, lax } = jax
  const convolved = (name, y, pad) => {
    const padding = [
      [pad, pad],
      [pad, pad],
    ]
    const z = np.tanh(lax.conv(y, w[`${name}.weight`], [1, 1], padding).add(w[`${name}.bias`].reshape([1, -1, 1, 1])))
    const [batch, channels, rows, columns] = z.shape
    return z.reshape([batch, channels, rows / 2, 2, columns / 2, 2]).mean([3, 5])
  }
  let y = convolved('conv2', convolved('conv1', x, 2), 0)
  y = y.reshape([y.shape[0], -1])
  for (const name of ['hidden1', 'hidden2']) y = np.tanh(linear(jax, w, name, y))
  return linear(jax, w, 'head', y)
}

function normed({ np, lax }, w, convolution, norm, x, stride = 1) {
  const kernel = w[`${convolution}.weight`]
  const pad = Math.floor(kernel.shape[2] / 2)
  const padding = [
    [pad, pad],
    [pad, pad],
  ]
  const y = lax.conv(x, kernel, [stride, stride], padding)
  const mean = y.ref.mean([0, 2, 3], { keepdims: true })
  const centered = y.sub(mean)
  const variance = centered.ref.mul(centered.ref).mean([0, 2, 3], { keepdims: true })
  const channel = (name) => w[name].reshape([1, -1, 1, 1])
  return centered
    .div(np.sqrt(variance.add(1e-5)))
    .mul(channel(`${norm}.weight`))
    .add(channel(`${norm}.bias`))
}

function resnet(jax, w, x) {
  const { relu } = jax.nn
  let y = relu(normed(jax, w, 'conv1', 'bn1', x))
  for (let i = 1; i <= 4; i++)
    for (const j of [0, 1]) {
      const name = `layer${i}.${j}`
      const stride = i > 1 && j === 0 ? 2 : 1
      const past = w[`${name}.downsample.0.weight`]
        ? normed(jax, w, `${name}.downsample.0`, `${name}.downsample.1`, y.ref, stride)
        : y.ref
      const inner = relu(normed(jax, w, `${name}.conv1`, `${name}.bn1`, y, stride))
      y = relu(normed(jax, w, `${name}.conv2`, `${name}.bn2`, inner).add(past))
    }
  return linear(jax, w, 'fc', y.mean([2, 3]))
}

function layerNorm({ np }, w, name, x) {
  const mean = x.ref.mean(-1, { keepdims: true })
  const centered = x.sub(mean)
  const variance = centered.ref.mul(centered.ref).mean(-1, { keepdims: true })
  return centered
    .div(np.sqrt(variance.add(1e-6)))
    .mul(w[`${name}.weight`])
    .add(w[`${name}.bias`])
}

function attention(jax, w, name, x, heads, mask = null, turn = (y) => y) {
  const { np, nn } = jax
  const [batch, length, width] = x.shape
  const size = width / heads
  const split = (part) =>
    projection(jax, w, `${name}.${part}`, x.ref).reshape([batch, length, heads, size]).transpose([0, 2, 1, 3])
  const q = turn(split('query'))
  const k = turn(split('key'))
  const v = split('value')
  x.dispose()
  const scores = np.matmul(q, k.transpose([0, 1, 3, 2])).mul(1 / Math.sqrt(size))
  const mixed = np.matmul(nn.softmax(mask ? scores.add(mask()) : scores, -1), v)
  return projection(jax, w, `${name}.output`, mixed.transpose([0, 2, 1, 3]).reshape([batch, length, width]))
}

function vit(jax, w, x, { patch, heads, layers }) {
  const { np, nn } = jax
  const [batch, channels, side] = x.shape
  const across = side / patch
  const kernel = w['patches.weight']
  const width = kernel.shape[0]
  // A convolution without overlap is a matrix product.
  const pixels = x
    .reshape([batch, channels, across, patch, across, patch])
    .transpose([0, 2, 4, 1, 3, 5])
    .reshape([batch, across ** 2, channels * patch ** 2])
  const embedded = np.matmul(pixels, kernel.reshape([width, -1]).transpose()).add(w['patches.bias'])
  const token = np.tile(w['token.weight'].reshape([1, 1, width]), [batch, 1, 1])
  let y = np.concatenate([token, embedded], 1).add(w['positions.weight'])
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    const seen = layerNorm(jax, w, `${name}.norm1`, y.ref)
    y = y.add(attention(jax, w, `${name}.attention`, seen, heads))
    const read = layerNorm(jax, w, `${name}.norm2`, y.ref)
    const inner = nn.gelu(projection(jax, w, `${name}.mlp.expand`, read), { approximate: false })
    y = y.add(projection(jax, w, `${name}.mlp.contract`, inner))
  }
  return projection(jax, w, 'head', layerNorm(jax, w, 'norm', y.slice([], 0)))
}

function rmsNorm({ np }, w, name, x) {
  const square = x.ref.mul(x.ref).mean(-1, { keepdims: true })
  return x.div(np.sqrt(square.add(1e-5))).mul(w[`${name}.weight`])
}

function llama(jax, w, tokens, { heads, layers }) {
  const { np, nn } = jax
  const [, length] = tokens.shape
  const [vocabulary, width] = w['embedding.weight'].shape
  const size = width / heads
  const angle = (t, i) => t / 10000 ** ((i % (size / 2)) / (size / 2))
  const table = (columns, element) =>
    np
      .array(Float32Array.from({ length: length * columns }, (_, i) => element(Math.floor(i / columns), i % columns)))
      .reshape([length, columns])
  const cos = table(size, (t, i) => Math.cos(angle(t, i)))
  const sin = table(size, (t, i) => Math.sin(angle(t, i)))
  const hidden = table(length, (i, j) => (j > i ? -1e9 : 0))
  const turn = (x) => {
    const [a, b] = np.split(x.ref, 2, -1)
    return x.mul(cos.ref).add(np.concatenate([b.neg(), a], -1).mul(sin.ref))
  }
  const mask = () => hidden.ref
  let y = np.matmul(nn.oneHot(tokens, vocabulary), w['embedding.weight'])
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    const seen = rmsNorm(jax, w, `${name}.norm1`, y.ref)
    y = y.add(attention(jax, w, `${name}.attention`, seen, heads, mask, turn))
    const read = rmsNorm(jax, w, `${name}.norm2`, y.ref)
    const inner = nn
      .silu(projection(jax, w, `${name}.mlp.gate`, read.ref))
      .mul(projection(jax, w, `${name}.mlp.up`, read))
    y = y.add(projection(jax, w, `${name}.mlp.down`, inner))
  }
  for (const each of [cos, sin, hidden]) each.dispose()
  return projection(jax, w, 'head', rmsNorm(jax, w, 'norm', y))
}
