import { type IreOptions, ire } from '../../src/optim/ire/ire.js'
import type { Optimizer } from '../../src/optim/optimizer.js'
import { type BaseOptimizerRecipe, baseOptimizers, createBaseOptimizer } from '../../src/optim/registry.js'
import { type SamOptions, sam } from '../../src/optim/sam.js'

/** An optimizer as JSON. */
export interface OptimizerSpec {
  readonly base: BaseOptimizerRecipe
  readonly sam?: SamOptions
  readonly ire?: IreOptions
}

export function createOptimizer({ base, sam: samOptions, ire: ireOptions }: OptimizerSpec): Optimizer {
  const inner = samOptions ? sam(createBaseOptimizer(base), samOptions) : createBaseOptimizer(base)
  return ireOptions ? ire(inner, ireOptions) : inner
}

/** Values of options under test that differ from the defaults; a registered optimizer gets those that it has. */
const testValues: Readonly<Record<string, unknown>> = { lr: 0.03, betas: [0.9, 0.99], weightDecay: 0.05 }

/** Further values, for kinds whose steps have another size or whose options another form. */
const ownTestValues: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  ademamix: { betas: [0.9, 0.99, 0.999] },
  adagrad: { lr: 0.2, lrDecay: 0.01, initialAccumulator: 0.1 },
  rmsprop: { lr: 0.02, alpha: 0.9 },
  'adamw-8bit': { blockSize: 8, minSize: 8 },
  adafactor: { lr: 0.05, d: 0.7 },
  prodigy: { lr: 0.5, d0: 1e-2, dCoefficient: 0.5 },
  'schedule-free-adamw': { warmup: 6, weightPower: 1 },
}

/** Further cases of optimizers whose options change the formula. */
const variants: Readonly<Record<string, BaseOptimizerRecipe>> = {
  'sgd with momentum': { kind: 'sgd', lr: 0.02, momentum: 0.8, dampening: 0.1, weightDecay: 0.01 },
  nesterov: { kind: 'sgd', lr: 0.02, momentum: 0.8, nesterov: true, weightDecay: 0.01 },
  'adamw with amsgrad': { kind: 'adamw', lr: 0.03, betas: [0.9, 0.9], amsgrad: true },
  'radam, decoupled': { kind: 'radam', lr: 0.03, betas: [0.9, 0.99], weightDecay: 0.05, decoupled: true },
  'ademamix with warm-ups': { kind: 'ademamix', lr: 0.02, alphaWarmup: 20, beta3Warmup: 30, weightDecay: 0.05 },
  'prodigy with a safeguard': {
    kind: 'prodigy',
    d0: 1e-2,
    dCoefficient: 1.5,
    biasCorrection: true,
    safeguardWarmup: true,
  },
  'muon, original': { kind: 'muon', lr: 0.05, scale: 'original', nesterov: false, adamLrFactor: 0.1 },
  'rmsprop, centered, with momentum': {
    kind: 'rmsprop',
    lr: 0.01,
    alpha: 0.9,
    momentum: 0.5,
    centered: true,
    eps: 0.1,
  },
}

const allBases = {
  ...Object.fromEntries(
    Object.entries(baseOptimizers).map(([kind, { options }]) => [
      kind,
      {
        kind,
        ...Object.fromEntries(Object.entries(testValues).filter(([name]) => name in options)),
        ...ownTestValues[kind],
      },
    ]),
  ),
  ...variants,
} as Record<string, BaseOptimizerRecipe>

const selectBases = (isGraph: boolean) =>
  Object.fromEntries(
    Object.entries(allBases).filter(([, recipe]) => (createBaseOptimizer(recipe).ruleOf !== undefined) === isGraph),
  )

/**
 * Every registered base optimizer whose update is a formula, and variants: the cases of all tests of optimizers, on
 * every backend.
 */
export const bases = selectBases(false)

/** Optimizers that the compute shaders of WebGPU update: they have no sums over tensors. */
export const shaderBases = Object.fromEntries(
  Object.entries(bases).filter(([, recipe]) => createBaseOptimizer(recipe).estimate === undefined),
)

/** Optimizers whose rules are graphs. */
export const graphBases = selectBases(true)

export const sams: Readonly<Record<string, Pick<OptimizerSpec, 'sam'>>> = {
  '': {},
  ', sam': { sam: { rho: 0.1 } },
  ', adaptive sam': { sam: { rho: 0.1, adaptive: true } },
}

/** The variants of SAM that have a state. */
export const samVariants: Readonly<Record<'friendly' | 'look', SamOptions>> = {
  friendly: { variant: 'friendly', rho: 0.1, sigma: 0.8, meanDecay: 0.7 },
  look: { variant: 'look', rho: 0.1, alpha: 0.5, interval: 3 },
}

export const ireOptions = { kappa: 1.5, gamma: 0.7, interval: 3, warmup: 5 } as const

const ires: Readonly<Record<string, Pick<OptimizerSpec, 'ire'>>> = {
  '': {},
  ', ire': { ire: ireOptions },
  ', ire with kappaDecay and beta': { ire: { ...ireOptions, beta: 0.6, kappaDecay: true } },
  ', ire of the empirical curvature': { ire: { ...ireOptions, curvature: 'empirical' } },
  ', ire of the Hessian': { ire: { ...ireOptions, curvature: 'hutchinson' } },
  ', ire of the Hessian with beta': { ire: { ...ireOptions, curvature: 'hutchinson', beta: 0.6 } },
}

/** Every combination of base, SAM and IRE, by name. */
const allOptimizers = (bases: Readonly<Record<string, BaseOptimizerRecipe>>): [name: string, spec: OptimizerSpec][] =>
  Object.entries(bases).flatMap(([baseName, base]) =>
    Object.entries(sams).flatMap(([samName, around]) =>
      Object.entries(ires).map(([ireName, enhancement]): [string, OptimizerSpec] => [
        `${baseName}${samName}${ireName}`,
        { base, ...around, ...enhancement },
      ]),
    ),
  )

/** Combinations that cover every pair of base and SAM, base and IRE, SAM and IRE: greedy, in a fixed order. */
export function pairwiseOptimizers(of = bases): [name: string, spec: OptimizerSpec][] {
  const pairsOf = ([name, { base, sam, ire }]: [string, OptimizerSpec]) => {
    const [b, s, i] = [JSON.stringify(base), JSON.stringify(sam ?? null), JSON.stringify(ire ?? null)]
    return { name, pairs: [`b${b} s${s}`, `b${b} i${i}`, `s${s} i${i}`] }
  }
  const candidates = allOptimizers(of)
  const open = new Set(candidates.flatMap((candidate) => pairsOf(candidate).pairs))
  const chosen: [string, OptimizerSpec][] = []
  while (open.size > 0) {
    const gain = (candidate: [string, OptimizerSpec]) =>
      pairsOf(candidate).pairs.filter((pair) => open.has(pair)).length
    const best = candidates.reduce((a, b) => (gain(b) > gain(a) ? b : a))
    for (const pair of pairsOf(best).pairs) open.delete(pair)
    chosen.push(best)
  }
  return chosen
}
