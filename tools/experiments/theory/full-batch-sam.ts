import { ire, type Optimizer, type SamOptimizer, sam, sgd } from 'onnx-ire'
import { plotCurves } from 'onnx-ire/node'
import type { Lab, Report } from '../experiment.js'
import { fixed, table, withInterval } from '../markdown.js'
import { computeSpread, fitExponents, mean, type Spread } from '../statistics.js'
import { diagonalNet } from './diagonal-net.js'
import { type Drift, drift } from './drift.js'
import { type Problem, valleys } from './problem.js'

export const etas = [0.01, 0.02, 0.04, 0.08]
const rhos = [0.005, 0.01, 0.02, 0.04]

/** Enhancement of the drift: none, kappa = 1 / rho, a constant kappa, or larger learning rates. */
export type Mode =
  | 'SAM'
  | 'SAM-IRE, kappa 1 / rho'
  | 'SAM-IRE, kappa 5'
  | 'SAM, lr (1 + kappa)'
  | 'SAM, lr (1 + kappa share)'

export const modes: readonly Mode[] = [
  'SAM',
  'SAM-IRE, kappa 1 / rho',
  'SAM-IRE, kappa 5',
  'SAM, lr (1 + kappa)',
  'SAM, lr (1 + kappa share)',
]

/** A problem, the fraction of coordinates along its manifold, and how IRE is applied. */
export interface Setting {
  readonly problem: Problem
  readonly share: number
  /** Applies IRE along the manifold, if its directions are not coordinates. */
  readonly exact?: (kappa: number) => NonNullable<Parameters<typeof drift>[1]['enhance']>
}

export function settings(): readonly Setting[] {
  const net = diagonalNet()
  return [
    { problem: valleys('2-D', [1], 1, 'largest'), share: 1 / 2 },
    { problem: valleys('25-D', [1, 0.9, 0.8, 0.7, 0.6], 4, 'largest'), share: 4 / 5 },
    { problem: net, share: 3 / 4, exact: net.enhanced },
  ]
}

function learningRate(mode: Mode, share: number, eta: number, rho: number): number {
  if (mode === 'SAM, lr (1 + kappa)') return eta * (1 + 1 / rho)
  return mode === 'SAM, lr (1 + kappa share)' ? eta * (1 + share / rho) : eta
}

/** Drift of one cell of the grid. */
export function cell({ problem, share, exact }: Setting, mode: Mode, eta: number, rho: number, seed: number): Drift {
  const kappa = mode === 'SAM-IRE, kappa 5' ? 5 : 1 / rho
  const lr = learningRate(mode, share, eta, rho)
  // The oscillation settles as (1 - lr lambda)^t, with lambda = 2.
  const settling = 2 * Math.ceil(3 / lr)
  const base = sam(sgd({ lr }), { rho })
  const enhanced = mode.startsWith('SAM-IRE')
  const optimizer = enhanced && !exact ? masked(base, kappa, problem.gamma, settling) : base
  const enhance = enhanced ? exact?.(kappa) : undefined
  return drift(problem, { optimizer, seed, settling, steps: 1000, ...(enhance ? { enhance } : {}) })
}

const masked = (base: SamOptimizer, kappa: number, gamma: number, warmup: number, beta = 0): Optimizer =>
  ire(base, { kappa, gamma, warmup, beta, interval: beta === 0 ? 10 : 1, curvature: 'hutchinson' })

type Cell = Drift & { readonly eta: number; readonly rho: number }

const defined = (cells: readonly Cell[]) => cells.filter((each): each is Cell & { rate: number } => each.rate !== null)

/** Exponents of eta and rho; that of eta also without the finite-step factor of SAM, (2 / (2 - eta lambda))^2. */
export function fitted(cells: readonly Cell[]): { eta: number; rho: number; etaAlone: number } {
  const rates = defined(cells)
  const [eta, rho] = fitExponents(rates.map((each) => ({ x: [each.eta, each.rho], y: each.rate })))
  const [etaAlone] = fitExponents(
    rates.map((each) => ({
      x: [each.eta, each.rho],
      y: each.rate * (1 - (each.eta * each.sharpness) / 2) ** 2,
    })),
  )
  return { eta: eta!, rho: rho!, etaAlone: etaAlone! }
}

export async function fullBatchSam(lab: Lab): Promise<Report> {
  const all = settings()
  lab.expect(all.length * modes.length * lab.seeds.length)
  const grids = new Map<string, Cell[][]>()
  for (const setting of all)
    for (const mode of modes) {
      const bySeed: Cell[][] = []
      for (const seed of lab.seeds)
        bySeed.push(
          await lab.measure({ problem: setting.problem.name, mode, etas, rhos, seed }, 1, () =>
            etas.flatMap((eta) => rhos.map((rho) => ({ eta, rho, ...short(cell(setting, mode, eta, rho, seed)) }))),
          ),
        )
      grids.set(`${setting.problem.name}/${mode}`, bySeed)
    }
  const grid = ({ problem }: Setting, mode: Mode) => grids.get(`${problem.name}/${mode}`)!

  const fits = all.flatMap((setting) =>
    modes.slice(0, 3).map((mode) => {
      const each = grid(setting, mode).map(fitted)
      const of = (key: 'eta' | 'rho' | 'etaAlone'): Spread => computeSpread(each.map((fit) => fit[key]))
      return { problem: setting.problem.name, mode, eta: of('eta'), etaAlone: of('etaAlone'), rho: of('rho') }
    }),
  )
  const controls = all.flatMap((setting) =>
    modes.slice(3).map((mode) => {
      const enhanced = grid(setting, 'SAM-IRE, kappa 1 / rho').flat()
      const all = grid(setting, mode)
        .flat()
        .map((each, i) => ({ ...each, edge: learningRate(mode, setting.share, each.eta, each.rho) * 2, i }))
      const below = all.filter(({ edge }) => edge < 2)
      const beyond = all.filter(({ edge }) => edge >= 2)
      return {
        problem: setting.problem.name,
        mode,
        below: below.length,
        ratios: below
          .flatMap(({ rate, i }) => (rate === null ? [] : [rate / enhanced[i]!.rate!]))
          .sort((a, b) => a - b),
        beyond: beyond.length,
        diverged: beyond.filter(({ rate }) => rate === null).length,
      }
    }),
  )
  const mask = await maskOnNet(lab, all.at(-1)!)
  return {
    markdown: `## SAM, and SAM-IRE with kappa = 1 / rho

The paper: the drift's effective learning rate is eta rho^2 with SAM and eta rho with IRE. Grid: eta ${etas.join(', ')}; rho ${rhos.join(', ')}; largest eigenvalue 2 at the start.

- 2-D: (1 + u²) v² / 2. 25-D: five valleys side by side, each with four coordinates u_j along it; masks from v * Hv every 10 steps, gamma such that exactly the u are flat.
- Diagonal linear net: f(x) = <x, u² - v²>, 6 examples of 12 features, 24 parameters. Its minima do not lie along coordinates, so IRE enhances the exact projection of the displacement onto the manifold's tangent space, as the theory assumes.

${table(
  ['problem', '', 'exponent of eta', 'of eta, finite-step factor removed', 'of rho'],
  fits.map(({ problem, mode, eta, etaAlone, rho }) => [
    problem,
    mode,
    withInterval(eta, 3),
    withInterval(etaAlone, 3),
    withInterval(rho, 3),
  ]),
)}

What exceeds 1 in eta is the finite step: the oscillation's length is rho 2 / (2 - eta lambda). A kappa that does not grow as 1 / rho multiplies the rate and leaves rho^2.

![rates over rho](sam.svg)

### Is it only a larger learning rate?

SAM with lr (1 + kappa) and lr (1 + kappa share), share being that of the flat coordinates, kappa = 1 / rho, over the same grid. Below the edge of stability, lr lambda = 2, it drifts about as fast as SAM-IRE, times its larger finite-step factor: IRE's gain is that of a larger learning rate, without its edge. Beyond the edge the runs diverge, or the growing oscillation throws them to another, flatter minimum in a few steps.

${table(
  [
    'problem',
    '',
    'runs below the edge',
    'rate / that of SAM-IRE there: median (range)',
    'runs beyond',
    'of them diverged',
  ],
  controls.map(({ problem, mode, below, ratios, beyond, diverged }) => [
    problem,
    mode,
    String(below),
    ratios.length === 0
      ? ''
      : `${fixed(2)(ratios[Math.floor(ratios.length / 2)]!)} (${fixed(2)(ratios[0]!)} to ${fixed(2)(ratios.at(-1)!)})`,
    String(beyond),
    String(diverged),
  ]),
)}

${mask.markdown}`,
    charts: { sam: await ratesOverRho(all, grid) },
    summary: { fits, controls, ...mask.summary },
  }
}

/** Effect of a mask over coordinates on the drift, if the directions of the manifold are not coordinates. */
async function maskOnNet(lab: Lab, setting: Setting): Promise<Pick<Report, 'markdown' | 'summary'>> {
  const { problem, exact } = setting
  const [eta, rho, settling] = [0.02, 0.02, 300]
  const base = sam(sgd({ lr: eta }), { rho })
  const run = (seed: number, optimizer: Optimizer, kappa?: number) =>
    drift(problem, {
      optimizer,
      seed,
      settling,
      steps: 1000,
      ...(kappa === undefined ? {} : { enhance: exact!(kappa) }),
    })
  const rows: { kappa: number; mask: Spread; projector: Spread }[] = []
  for (const kappa of [1, 2, 4, 8]) {
    const ratios: { mask: number; projector: number }[] = []
    for (const seed of lab.seeds)
      ratios.push(
        await lab.measure({ problem: problem.name, part: 'mask', beta: 0.98, eta, rho, kappa, seed }, 0, () => {
          const plain = run(seed, base).rate!
          const mask = run(seed, masked(base, kappa, problem.gamma, settling, 0.98)).rate ?? Number.NaN
          return { mask: digits(mask / plain), projector: digits(run(seed, base, kappa).rate! / plain) }
        }),
      )
    rows.push({
      kappa,
      mask: computeSpread(ratios.map((each) => each.mask)),
      projector: computeSpread(ratios.map((each) => each.projector)),
    })
  }
  return {
    markdown: `### A mask over coordinates in place of the projector

The diagonal linear net again, eta ${eta}, rho ${rho}: the drift's rate over that of SAM. The ideal is 1 + kappa.

${table(
  ['kappa', 'exact projector', 'mask (v * Hv smoothed by beta 0.98)'],
  rows.map(({ kappa, mask, projector }) => [
    String(kappa),
    withInterval(projector, 2),
    Number.isNaN(mask.mean) ? 'left the manifold' : withInterval(mask, 2),
  ]),
)}`,
    summary: {
      mask: rows.map(({ kappa, mask, projector }) => ({
        kappa,
        mask: digits(mask.mean),
        projector: digits(projector.mean),
      })),
    },
  }
}

function ratesOverRho(all: readonly Setting[], grid: (setting: Setting, mode: Mode) => Cell[][]): Promise<string> {
  const eta = etas[1]!
  const lines = all.flatMap((setting) =>
    modes.slice(0, 2).map((mode) => ({
      name: `${setting.problem.name}, ${mode}`,
      dashed: mode === 'SAM',
      points: rhos.map((rho) => {
        const rates = grid(setting, mode).map((cells) => cells.find((c) => c.eta === eta && c.rho === rho)!.rate!)
        return [rho, mean(rates)] as const
      }),
    })),
  )
  return plotCurves(lines, {
    title: `Drift towards flat minima, eta ${eta}`,
    x: 'rho',
    y: 'rate per step',
    logX: true,
    logY: true,
    width: 940,
  })
}

export const digits = (x: number): number => Number(x.toPrecision(5))

const short = ({ rate, sharpness }: Drift): Drift => ({
  rate: rate === null ? null : digits(rate),
  sharpness: digits(sharpness),
})
