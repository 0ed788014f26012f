import { add, array, div, type Formula, formula, mul, scalar, sqrt, sub } from '../../src/formula/formula.js'
import type { ParameterArrays } from '../../src/optim/arrays.js'
import type { BaseOptimizer } from '../../src/optim/base.js'
import type { Device, DeviceTensors } from '../../src/runtime/device.js'
import { kappaAt, refreshesAt } from '../../src/step/ire.js'
import { layers, type Optimizer } from '../../src/step/optimizer.js'
import type { DeviceResidence, StepNumbers } from '../../src/step/residence.js'
import { planStep } from '../../src/step/settings.js'
import type { StepContext } from '../../src/step/step.js'
import type { GradientFunction } from '../../src/step/take-step.js'

const dimsOf: Readonly<Record<string, readonly number[]>> = { scale: [], embedding: [4, 3], nothing: [0, 5] }

/** Some dims for the arrays of a test's problem. */
export const shapesOf = (parameters: ParameterArrays) =>
  Object.fromEntries(Object.entries(parameters).map(([name, { length }]) => [name, dimsOf[name] ?? [length]]))

export async function uploaded(device: Device, arrays: ParameterArrays): Promise<DeviceTensors> {
  const shapes = shapesOf(arrays)
  const tensors = Object.entries(arrays).map(
    async ([name, data]) => [name, await device.upload({ dtype: 'float32', dims: shapes[name]!, data })] as const,
  )
  return Object.fromEntries(await Promise.all(tensors))
}

export async function downloaded(device: Device, tensors: DeviceTensors): Promise<Record<string, Float32Array>> {
  const arrays = Object.entries(tensors).map(
    async ([name, tensor]) => [name, (await device.download(tensor)).data as Float32Array] as const,
  )
  return Object.fromEntries(await Promise.all(arrays))
}

const [theta, g] = [array('theta'), array('g')]
const decayed = add(g, mul(scalar('l2'), theta))

function formulaOf(base: BaseOptimizer): Formula {
  if (base.name === 'sgd') {
    if (base.moments.length === 0) return formula({ d: sub(0, mul(scalar('lr'), decayed)) })
    const b = add(mul(scalar('keep'), array('momentum')), mul(scalar('take'), decayed))
    return formula({ d: sub(0, add(mul(scalar('direct'), decayed), mul(scalar('lr'), b))), momentum: b })
  }
  const gradient = base.name === 'adam' ? decayed : g
  const [m, v] = [array('firstMoment'), array('secondMoment')]
  const first = add(m, mul(scalar('take1'), sub(gradient, m)))
  const second = add(sub(v, mul(scalar('take2'), v)), mul(mul(scalar('take2'), gradient), gradient))
  const d = div(mul(scalar('rate'), first), add(sqrt(second), scalar('eps')))
  const shrunk = base.name === 'adam' ? d : sub(d, mul(scalar('shrink'), theta))
  return formula({ d: shrunk, firstMoment: first, secondMoment: second })
}

function factorsOf(base: BaseOptimizer, t: number, lr: number, weightDecay: number): Record<string, number> {
  const { options } = base
  if (base.name === 'sgd') {
    const [momentum, dampening] = [Number(options['momentum']), Number(options['dampening'])]
    const nesterov = options['nesterov'] ? lr : 0
    return {
      lr: options['nesterov'] ? lr * momentum : lr,
      l2: weightDecay,
      keep: t === 0 ? 0 : momentum,
      take: t === 0 ? 1 : 1 - dampening,
      direct: nesterov,
    }
  }
  const [beta1, beta2] = options['betas'] as readonly [number, number]
  const root = Math.sqrt(1 - beta2 ** (t + 1))
  return {
    take1: 1 - beta1,
    take2: 1 - beta2,
    rate: (-lr * root) / (1 - beta1 ** (t + 1)),
    eps: Number(options['eps']) * root,
    l2: weightDecay,
    shrink: lr * weightDecay,
  }
}

/** One step of a residence on a device, as `takeStep` takes one of arrays. */
export async function deviceStep(
  device: Device,
  residence: DeviceResidence<DeviceTensors>,
  optimizer: Optimizer,
  parameters: ParameterArrays,
  step: number,
  gradient: GradientFunction,
  { lrFactor = 1, clipNorm = Infinity, clipValue = Infinity, settings = {} }: StepContext,
): Promise<StepNumbers> {
  const { base, sam, ire } = layers(optimizer)
  const plan = planStep(base, parameters, settings, step)
  const ranked = Object.keys(plan.enhanced)
  const ask = async (kind: 'loss' | 'curvature', at: DeviceTensors) => {
    const { gradients } = await gradient(kind, await downloaded(device, at))
    return uploaded(device, gradients)
  }
  const refreshed = ire !== null && refreshesAt(ire, step)
  const what = ire?.curvature === 'hutchinson' ? 'curvature estimate v * Hv' : 'curvature gradient'
  if (refreshed && ire.curvature !== 'empirical')
    await residence.refresh({ ire, step, batchSize: 1, ranked, what }, await ask('curvature', residence.parameters))
  let gradients = await ask('loss', residence.parameters)
  if (refreshed && ire.curvature === 'empirical')
    await residence.refresh({ ire, step, batchSize: 1, ranked, what: 'loss gradient' }, gradients)
  if (sam)
    gradients = await ask('loss', await residence.ascend({ sam, step, trained: Object.keys(plan.trained) }, gradients))
  const tensors = Object.keys(plan.trained).map((name) => {
    const { t, lrScale, weightDecay } = plan.of(name)
    const factors = factorsOf(base, t, base.lr * lrFactor * lrScale, weightDecay)
    return { name, factors, enhanced: Object.hasOwn(plan.enhanced, name) }
  })
  await residence.apply(
    {
      step,
      formula: formulaFor(base),
      tensors,
      kappa: ire ? kappaAt(ire, step, lrFactor) : 0,
      clipNorm,
      clipValue,
      what: sam ? 'loss gradient after the ascent' : 'loss gradient',
    },
    gradients,
  )
  return residence.numbers()
}

const formulas = new WeakMap<BaseOptimizer, Formula>()
const formulaFor = (base: BaseOptimizer): Formula => {
  const known = formulas.get(base) ?? formulaOf(base)
  formulas.set(base, known)
  return known
}
