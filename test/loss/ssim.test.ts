import { afterAll, describe, expect, it } from 'vitest'
import { gradients, input, modelOf, op, parameter, scalar } from '../../src/graph/index.js'
import { encodeModel, type SsimOptions, ssim } from '../../src/index.js'
import { numbersOf } from '../../src/ir/leaf.js'
import { sizeOf } from '../../src/ir/tensor.js'
import { node } from '../../src/node/index.js'
import { Random } from '../../src/util/random.js'
import { float } from './problem.js'

const dims = [2, 3, 13, 14] as const
const [examples, channels, height, width] = dims
const size = sizeOf(dims)
const side = 11
const random = new Random(4)
const noise = () => Array.from(random.fill(new Float64Array(size), 'uniform'))
/** Smooth images, so that the structure of a target is in its output too. */
const targets = noise().map((u, i) => 0.5 + 0.3 * Math.sin(i / 5) + 0.2 * u)
const output = noise().map((u, i) => 0.7 * targets[i]! + 0.1 + 0.2 * u)

/** 1 - SSIM of every example, window by window, from the definition: weighted means, variances and the covariance. */
function lossesOf(y: readonly number[], t: readonly number[], range: number): number[] {
  const gauss = (i: number, j: number) => Math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5 ** 2))
  const offsets = Array.from({ length: side * side }, (_, k) => [Math.floor(k / side), k % side] as const)
  const total = offsets.reduce((sum, [i, j]) => sum + gauss(i, j), 0)
  const [c1, c2] = [(0.01 * range) ** 2, (0.03 * range) ** 2]
  return Array.from({ length: examples }, (_, n) => {
    let [sum, windows] = [0, 0]
    for (let c = 0; c < channels; c++)
      for (let top = 0; top + side <= height; top++)
        for (let left = 0; left + side <= width; left++) {
          const at = (i: number, j: number) => ((n * channels + c) * height + top + i) * width + left + j
          const mean = (f: (k: number) => number) =>
            offsets.reduce((sum, [i, j]) => sum + gauss(i, j) * f(at(i, j)), 0) / total
          const [my, mt] = [mean((k) => y[k]!), mean((k) => t[k]!)]
          const vy = mean((k) => (y[k]! - my) ** 2)
          const vt = mean((k) => (t[k]! - mt) ** 2)
          const covariance = mean((k) => (y[k]! - my) * (t[k]! - mt))
          sum += ((2 * my * mt + c1) * (2 * covariance + c2)) / ((my ** 2 + mt ** 2 + c1) * (vy + vt + c2))
          windows++
        }
    return 1 - sum / windows
  })
}

const runtime = node({ threads: 1, worker: false })
afterAll(() => runtime.dispose())

async function measure(options: SsimOptions, factor = 1) {
  const y = parameter(
    'y',
    float(
      dims,
      output.map((x) => factor * x),
    ),
  )
  const built = ssim(options).build(new Map([['image', op.Identity(y)]]))
  const program = await runtime.compile(
    encodeModel(
      modelOf({
        name: 'ssim',
        inputs: new Map([['y', y], ...built.targets]),
        outputs: new Map([
          ['loss', built.loss],
          ['weight', built.weight ?? built.count],
          ['gradient', gradients([[built.loss, scalar('float32', 1)]], [y])[0]!],
        ]),
      }),
    ),
  )
  const feeds = {
    y: float(
      dims,
      output.map((x) => factor * x),
    ),
    targets: float(
      dims,
      targets.map((x) => factor * x),
    ),
    ...(options.sampleWeights ? { [options.sampleWeights]: float([examples], [3, 0.5]) } : {}),
  }
  const found = await program.run(feeds)
  await program.release()
  const [loss, weight, gradient] = ['loss', 'weight', 'gradient'].map((name) => [...numbersOf(found[name]!)])
  return { loss: loss![0]!, weight: weight![0]!, gradient: gradient! }
}

describe('ssim', () => {
  for (const [name, options, weights] of [
    ['mean over examples', {}, [1, 1]],
    ['weighted examples', { sampleWeights: 'importance' }, [3, 0.5]],
  ] as const)
    it(`${name} > value and gradient equal plain arithmetic`, async () => {
      const total = weights[0] + weights[1]
      const lossOf = (y: readonly number[]) => {
        const [a, b] = lossesOf(y, targets, 1)
        return (weights[0] * a! + weights[1] * b!) / total
      }
      const { loss, weight, gradient } = await measure(options)
      expect(weight).toBeCloseTo(total, 5)
      expect(loss).toBeGreaterThan(0.05)
      expect(loss).toBeCloseTo(lossOf(output), 5)
      for (let k = 0; k < 4; k++) {
        const direction = Array.from(random.fill(new Float64Array(size), 'normal'))
        const moved = (h: number) => lossOf(output.map((x, i) => x + h * direction[i]!))
        const slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        const along = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0)
        expect(Math.abs(along - slope)).toBeLessThan(1e-4 * Math.max(0.1, Math.abs(slope)))
      }
    })

  it('range 255 > of pixels times 255 > equals range 1', async () => {
    const [one, many] = [await measure({}), await measure({ range: 255 }, 255)]
    expect(many.loss).toBeCloseTo(one.loss, 5)
    expect((await measure({ range: 1 }, 255)).loss).not.toBeCloseTo(one.loss, 4)
  })

  const image = (...shape: readonly (number | string)[]) => new Map([['image', input('image', 'float32', shape)]])
  for (const [name, make, code] of [
    ['range 0', () => ssim({ range: 0 }), 'invalid-option'],
    ['three axes', () => ssim().build(image('N', 20, 20)), 'invalid-shape'],
    ['an unknown number of channels', () => ssim().build(image('N', 'C', 20, 20)), 'invalid-shape'],
    ['images below the window', () => ssim().build(image('N', 3, 20, 10)), 'invalid-shape'],
  ] as const)
    it(`${name} > is rejected`, () => {
      expect(make).toThrow(expect.objectContaining({ code }))
    })
})
