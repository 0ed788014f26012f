import type { SpectralDensity } from '../../analysis/flatness/density.js'
import type { Eigenvalues } from '../../analysis/flatness/eigenvalues.js'
import type { Estimate } from '../../analysis/flatness/estimate.js'
import type { Landscape } from '../../analysis/flatness/landscape.js'
import type { Flatness } from '../../analysis/flatness/measure.js'
import type { Sharpness } from '../../analysis/flatness/sharpness.js'
import { formatCount, formatNumber, formatTable } from './format.js'

/** What was measured, as people read it. */
export function formatFlatness({ trace, eigenvalues, density, sharpness, landscape }: Flatness): string[] {
  return [
    ...(trace
      ? [
          `trace of the Hessian: ${estimate(trace)} from ${formatCount(trace.probes, 'probe')}${trace.converged ? '' : ', short of the tolerance'}`,
        ]
      : []),
    ...(eigenvalues ? [eigenvalueText(eigenvalues)] : []),
    ...(density ? [densityText(density)] : []),
    ...(sharpness ? sharpnessText(sharpness) : []),
    ...(landscape ? [landscapeText(landscape)] : []),
  ]
}

const estimate = ({ value, error }: Estimate): string =>
  Number.isFinite(error)
    ? `${formatNumber(value)} +- ${formatNumber(Number(error.toPrecision(2)))}`
    : formatNumber(value)

function eigenvalueText({ largest, smallest, steps, converged }: Eigenvalues): string {
  const rows = [
    ...largest.map(({ value, bound }, i) => [`largest ${i + 1}`, formatNumber(value), bound.toExponential(1)]),
    ['smallest', formatNumber(smallest.value), smallest.bound.toExponential(1)],
  ]
  const head = `eigenvalues after ${formatCount(steps, 'Lanczos step')}${converged ? '' : ', short of the tolerance'}:`
  return `${head}\n${formatTable(['', 'value', 'within'], rows)}`
}

function densityText({ nodes, weights, mean, meanSquare, probes }: SpectralDensity): string {
  const negative = nodes.reduce((sum, node, i) => sum + (node < 0 ? weights[i]! : 0), 0)
  const [least, most] = [Math.min(...nodes), Math.max(...nodes)]
  return `spectrum: from ${formatNumber(least)} to ${formatNumber(most)}, mean ${estimate(mean)}, mean square ${estimate(meanSquare)}, ${(100 * negative).toFixed(1)} % of it below 0, from ${formatCount(probes, 'probe')}`
}

const sharpnessText = ({ rho, loss, gradientNorm, ascent, average }: Sharpness): string[] => [
  `loss ${formatNumber(loss)}, norm of the gradient ${formatNumber(gradientNorm)}`,
  `rise within ${rho}: ${formatNumber(ascent)} along the gradient (SAM)${average ? `, ${estimate(average)} on average over directions` : ''}`,
]

function landscapeText({ axis, losses }: Landscape): string {
  const known = losses.flat().filter(Number.isFinite)
  return `landscape: losses from ${formatNumber(Math.min(...known))} to ${formatNumber(Math.max(...known))} on ${axis.length} x ${axis.length} points`
}
