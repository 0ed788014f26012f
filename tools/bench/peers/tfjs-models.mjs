/** The models of tools/bench on TensorFlow.js: `(tf, weights, x, sizes) => logits`. */
export const models = { mlp, lenet, resnet, vit, llama }

const linear = (w, name, x) => x.matMul(w[`${name}.weight`], false, true).add(w[`${name}.bias`])

/** x W + b over the last axis; weights [from, to]. Computed as one large matrix product, which is faster. */
function projection(w, name, x) {
  const weight = w[`${name}.weight`]
  const y = x.reshape([-1, weight.shape[0]]).matMul(weight)
  const bias = w[`${name}.bias`]
  return (bias ? y.add(bias) : y).reshape([...x.shape.slice(0, -1), weight.shape[1]])
}

function mlp(_, w, x) {
  const y = linear(w, 'hidden1', linear(w, 'hidden0', x).relu()).relu()
  return linear(w, 'head', y)
}

/** LeNet-5; maps are [N, H, W, C], but flattened channel by channel, as the first linear layer requires. */
function lenet(tf, w, x) {
  const convolved = (name, y, pad) =>
    tf.avgPool(
      tf
        .conv2d(y, w[`${name}.weight`].transpose([2, 3, 1, 0]), 1, pad)
        .add(w[`${name}.bias`])
        .tanh(),
      2,
      2,
      'valid',
    )
  const maps = convolved('conv2', convolved('conv1', x.transpose([0, 2, 3, 1]), 2), 0)
  let y = maps.transpose([0, 3, 1, 2]).reshape([x.shape[0], -1])
  for (const name of ['hidden1', 'hidden2']) y = linear(w, name, y).tanh()
  return linear(w, 'head', y)
}

/** x [N, H, W, C], the only layout of tfjs on CPU backends; kernels are stored as [to, from, k, k]. */
function normed(tf, w, convolution, norm, x, stride = 1) {
  const kernel = w[`${convolution}.weight`].transpose([2, 3, 1, 0])
  const y = tf.conv2d(x, kernel, stride, Math.floor(kernel.shape[0] / 2))
  const { mean, variance } = tf.moments(y, [0, 1, 2])
  return tf.batchNorm(y, mean, variance, w[`${norm}.bias`], w[`${norm}.weight`], 1e-5)
}

function resnet(tf, w, x) {
  let y = normed(tf, w, 'conv1', 'bn1', x.transpose([0, 2, 3, 1])).relu()
  for (let i = 1; i <= 4; i++)
    for (const j of [0, 1]) {
      const name = `layer${i}.${j}`
      const stride = i > 1 && j === 0 ? 2 : 1
      const past = w[`${name}.downsample.0.weight`]
        ? normed(tf, w, `${name}.downsample.0`, `${name}.downsample.1`, y, stride)
        : y
      const inner = normed(tf, w, `${name}.conv1`, `${name}.bn1`, y, stride).relu()
      y = normed(tf, w, `${name}.conv2`, `${name}.bn2`, inner).add(past).relu()
    }
  return linear(w, 'fc', y.mean([1, 2]))
}

function layerNorm(tf, w, name, x) {
  const { mean, variance } = tf.moments(x, -1, true)
  return x.sub(mean).mul(variance.add(1e-6).rsqrt()).mul(w[`${name}.weight`]).add(w[`${name}.bias`])
}

function attention(tf, w, name, x, heads, mask = null, turn = (y) => y) {
  const [batch, length, width] = x.shape
  const size = width / heads
  const split = (part) =>
    projection(w, `${name}.${part}`, x).reshape([batch, length, heads, size]).transpose([0, 2, 1, 3])
  const scores = turn(split('query'))
    .matMul(turn(split('key')), false, true)
    .mul(1 / Math.sqrt(size))
  const mixed = tf.softmax(mask ? scores.add(mask) : scores).matMul(split('value'))
  return projection(w, `${name}.output`, mixed.transpose([0, 2, 1, 3]).reshape([batch, length, width]))
}

function gelu(x) {
  return x.mul(0.5).mul(x.mul(Math.SQRT1_2).erf().add(1))
}

function vit(tf, w, x, { patch, heads, layers }) {
  const [batch, channels, side] = x.shape
  const across = side / patch
  const kernel = w['patches.weight']
  const width = kernel.shape[0]
  // A convolution without overlap is a matrix product; tfjs has no gradient of a convolution's weight on wasm.
  const pixels = x
    .reshape([batch, channels, across, patch, across, patch])
    .transpose([0, 2, 4, 1, 3, 5])
    .reshape([batch * across ** 2, channels * patch ** 2])
  const embedded = pixels.matMul(kernel.reshape([width, -1]), false, true).add(w['patches.bias'])
  const token = w['token.weight'].reshape([1, 1, width]).tile([batch, 1, 1])
  let y = tf.concat([token, embedded.reshape([batch, across ** 2, width])], 1).add(w['positions.weight'])
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    y = y.add(attention(tf, w, `${name}.attention`, layerNorm(tf, w, `${name}.norm1`, y), heads))
    const inner = gelu(projection(w, `${name}.mlp.expand`, layerNorm(tf, w, `${name}.norm2`, y)))
    y = y.add(projection(w, `${name}.mlp.contract`, inner))
  }
  const read = y.slice([0, 0, 0], [batch, 1, width]).reshape([batch, width])
  return projection(w, 'head', layerNorm(tf, w, 'norm', read))
}

function rmsNorm(w, name, x) {
  return x.mul(x.square().mean(-1, true).add(1e-5).rsqrt()).mul(w[`${name}.weight`])
}

function llama(tf, w, tokens, { heads, layers }) {
  const [batch, length] = tokens.shape
  const [vocabulary, width] = w['embedding.weight'].shape
  const half = width / heads / 2
  const angles = tf
    .range(0, length)
    .expandDims(1)
    .mul(
      tf
        .range(0, half)
        .mul(-Math.log(10000) / half)
        .exp(),
    )
  const cos = tf.concat([angles.cos(), angles.cos()], 1)
  const sin = tf.concat([angles.sin(), angles.sin()], 1)
  const turn = (x) => {
    const [a, b] = tf.split(x, 2, -1)
    return x.mul(cos).add(tf.concat([b.neg(), a], -1).mul(sin))
  }
  const position = tf.range(0, length)
  const mask = tf.where(position.expandDims(0).greater(position.expandDims(1)), tf.scalar(-1e9), tf.scalar(0))
  // A product with one-hot rows; tfjs has no gradient of a lookup on wasm.
  const found = tf.oneHot(tokens.flatten(), vocabulary).matMul(w['embedding.weight'])
  let y = found.reshape([batch, length, width])
  for (let i = 0; i < layers; i++) {
    const name = `block${i}`
    y = y.add(attention(tf, w, `${name}.attention`, rmsNorm(w, `${name}.norm1`, y), heads, mask, turn))
    const read = rmsNorm(w, `${name}.norm2`, y)
    const gate = projection(w, `${name}.mlp.gate`, read)
    const inner = gate.mul(gate.sigmoid()).mul(projection(w, `${name}.mlp.up`, read))
    y = y.add(projection(w, `${name}.mlp.down`, inner))
  }
  return projection(w, 'head', rmsNorm(w, 'norm', y))
}
