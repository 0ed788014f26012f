import { ire, sgd } from 'onnx-ire'
import { plotCurves } from 'onnx-ire/node'
import type { Lab, Report } from '../experiment.js'
import { table, withInterval } from '../markdown.js'
import { computeSpread, fitExponents, mean } from '../statistics.js'
import { drift } from './drift.js'
import { digits } from './full-batch-sam.js'
import { valleys } from './problem.js'

const averageEtas = [0.0003, 0.001, 0.003, 0.01]
const averageSizes = [2, 8, 32]
type AverageMode = 'average SAM' | 'average SAM-IRE'
const averageModes: readonly AverageMode[] = ['average SAM', 'average SAM-IRE']

/**
 * Measures the rate of average SAM, with gradients at random points of the sphere of radius rho = sqrt(eta) around the
 * p parameters; with IRE, kappa = 1 / rho.
 */
export function averageRate(mode: AverageMode, eta: number, p: number, seed: number, steps: number): number | null {
  const rho = Math.sqrt(eta)
  const problem = valleys(`${p}-D`, new Array<number>(p / 2).fill(1), 1, 'trace')
  const base = sgd({ lr: eta })
  const optimizer =
    mode === 'average SAM'
      ? base
      : ire(base, { kappa: 1 / rho, gamma: problem.gamma, interval: 10, curvature: 'hutchinson' })
  return drift(problem, { optimizer, seed, settling: 0, steps, enough: 0.05, noise: rho }).rate
}

/** Exponents of eta and p. */
export const averageFit = (cells: readonly { readonly eta: number; readonly p: number; readonly rate: number }[]) => {
  const [eta, p] = fitExponents(cells.map((each) => ({ x: [each.eta, each.p], y: each.rate })))
  return { eta: eta!, p: p! }
}

export async function averageSam(lab: Lab): Promise<Report> {
  const steps = lab.scale === 'full' ? 20_000 : 4_000
  lab.expect(3 * averageModes.length * lab.seeds.length)
  const rows = []
  const lines = []
  for (const mode of averageModes) {
    const bySeed: { eta: number; p: number; rate: number }[][] = []
    for (const seed of lab.seeds)
      bySeed.push(
        await lab.measure({ mode, etas: averageEtas, sizes: averageSizes, steps, seed }, 3, () =>
          averageEtas.flatMap((eta) =>
            averageSizes.map((p) => ({ eta, p, rate: digits(averageRate(mode, eta, p, seed, steps)!) })),
          ),
        ),
      )
    const fits = bySeed.map(averageFit)
    rows.push({ mode, eta: computeSpread(fits.map(({ eta }) => eta)), p: computeSpread(fits.map(({ p }) => p)) })
    for (const p of averageSizes)
      lines.push({
        name: `${mode}, p ${p}`,
        dashed: mode === 'average SAM',
        points: averageEtas.map((eta) => {
          const rates = bySeed.map((cells) => cells.find((each) => each.eta === eta && each.p === p)!.rate)
          return [eta, mean(rates)] as const
        }),
      })
  }
  return {
    markdown: `## Average SAM, rho = sqrt(eta)

Every gradient is taken at theta + rho xi, xi uniform on the unit sphere; the sharpness is the trace. The paper: eta^2 / p, and eta^1.5 / p with IRE of kappa = 1 / rho. Valleys (1 + u_j²) v_j² / 2 side by side, p = ${averageSizes.join(', ')} parameters in all; eta ${averageEtas.join(', ')}; ${steps.toLocaleString('en-US')} steps at most.

${table(
  ['', 'exponent of eta', 'exponent of p'],
  rows.map(({ mode, eta, p }) => [mode, withInterval(eta, 3), withInterval(p, 3)]),
)}

The factor of IRE is 1 + kappa = (1 + rho) / rho: what exceeds 1.5 is that 1 + rho.

![rates of average SAM](average-sam.svg)`,
    charts: {
      'average-sam': await plotCurves(lines, {
        title: 'Average SAM',
        x: 'eta',
        y: 'rate per step',
        logX: true,
        logY: true,
        width: 940,
      }),
    },
    summary: { average: rows },
  }
}
