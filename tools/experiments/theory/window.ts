import { sam, sgd } from 'onnx-ire'
import type { Lab, Report } from '../experiment.js'
import { table, withInterval } from '../markdown.js'
import { computeSpread, type Spread } from '../statistics.js'
import { diagonalNet } from './diagonal-net.js'
import { drift } from './drift.js'
import { digits, fitted } from './full-batch-sam.js'

/** Grid with eta lambda up to 0.8 and large perturbations. */
const wideEtas = [0.05, 0.1, 0.2, 0.4]
const wideRhos = [0.02, 0.05, 0.1]

/** Number of steps over which a drift is measured. */
type Window = 'until 1 % of the sharpness is gone' | 'over 200 steps'
const all: readonly Window[] = ['until 1 % of the sharpness is gone', 'over 200 steps']

/**
 * Exponents on the diagonal linear net over a wide grid, for SAM, or SAM-IRE with kappa = 1 / rho and the exact
 * projector.
 */
export function wideFit(isEnhanced: boolean, window: Window, seed: number) {
  const net = diagonalNet()
  const length = window === 'over 200 steps' ? { steps: 200, enough: 1 } : { steps: 1000 }
  return fitted(
    wideEtas.flatMap((eta) =>
      wideRhos.map((rho) => ({
        eta,
        rho,
        ...drift(net, {
          optimizer: sam(sgd({ lr: eta }), { rho }),
          seed,
          settling: 2 * Math.ceil(3 / eta),
          ...length,
          ...(isEnhanced ? { enhance: net.enhanced(1 / rho) } : {}),
        }),
      })),
    ),
  )
}

/** Effect of large steps and a long window on the exponents. */
export async function wideGrid(lab: Lab): Promise<Pick<Report, 'markdown' | 'summary'>> {
  lab.expect(2 * all.length * lab.seeds.length)
  const rows: { name: string; window: Window; eta: Spread; etaAlone: Spread; rho: Spread }[] = []
  for (const window of all)
    for (const isEnhanced of [false, true]) {
      const name = isEnhanced ? 'SAM-IRE, kappa 1 / rho' : 'SAM'
      const fits: ReturnType<typeof wideFit>[] = []
      for (const seed of lab.seeds)
        fits.push(
          await lab.measure({ part: 'wide grid', mode: name, window, wideEtas, wideRhos, seed }, 1, () => {
            const { eta, etaAlone, rho } = wideFit(isEnhanced, window, seed)
            return { eta: digits(eta), etaAlone: digits(etaAlone), rho: digits(rho) }
          }),
        )
      const of = (key: 'eta' | 'etaAlone' | 'rho') => computeSpread(fits.map((fit) => fit[key]))
      rows.push({ name, window, eta: of('eta'), etaAlone: of('etaAlone'), rho: of('rho') })
    }
  return {
    markdown: `### Large steps and a long window

The diagonal linear net once more, eta ${wideEtas.join(', ')} and rho ${wideRhos.join(', ')}: lr lambda up to 0.8 at the start. Measured as above, the finite-step factor still explains what exceeds 1 in eta. Measured over a fixed number of steps, the fastest runs have used up the drift before the end, which lowers both exponents, those of IRE most.

${table(
  ['measured', '', 'exponent of eta', 'of eta, finite-step factor removed', 'of rho'],
  rows.map(({ name, window, eta, etaAlone, rho }) => [
    window,
    name,
    withInterval(eta, 2),
    withInterval(etaAlone, 2),
    withInterval(rho, 2),
  ]),
)}`,
    summary: { wide: rows },
  }
}
