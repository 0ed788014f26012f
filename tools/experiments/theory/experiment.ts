import type { Experiment } from '../experiment.js'
import { averageSam } from './average-sam.js'
import { fullBatchSam } from './full-batch-sam.js'
import { wideGrid } from './window.js'

export const theory: Experiment = {
  name: 'theory',
  about: 'how fast SAM and IRE drift towards flat minima',
  duration: { small: '1 minute', full: '5 minutes' },
  seeds: { small: 3, full: 10 },
  async run(lab) {
    const full = await fullBatchSam(lab)
    const wide = await wideGrid(lab)
    const average = await averageSam(lab)
    return {
      markdown: `The rate of a drift is -d ln(sharpness) / dt per step, at minima whose sharpness is known exactly. SAM needs a while until its oscillation across the manifold is steady; measuring begins after that, and ends when 1 % of the sharpness is gone. Exponents are least squares in logarithms over a grid, one fit per seed; means over ${lab.seeds.length} seeds with 95 % intervals.

${full.markdown}

${wide.markdown}

${average.markdown}
`,
      charts: { ...full.charts, ...average.charts },
      summary: { ...full.summary, ...wide.summary, ...average.summary },
    }
  },
}
