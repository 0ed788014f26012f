import type { SpectralDensity } from '../../analysis/flatness/density.js'
import type { Eigenvalues } from '../../analysis/flatness/eigenvalues.js'
import type { MeanEstimate } from '../../analysis/flatness/estimate.js'
import type { Landscape } from '../../analysis/flatness/landscape.js'
import type { Flatness } from '../../analysis/flatness/measure.js'
import type { Sharpness } from '../../analysis/flatness/sharpness.js'
import { formatCount, formatNumber, formatTable } from './format.js'

/** Results of `sharpness` as text. */
export function formatFlatness({ trace, eigenvalues, density, sharpness, landscape }: Flatness): string[] {
  return [
    ...(trace
      ? [
          `trace of the Hessian: ${formatEstimate(trace)} from ${formatCount(trace.probes, 'probe')}${trace.converged ? '' : ', short of the tolerance'}`,
        ]
      : []),
    ...(eigenvalues ? [formatEigenvalues(eigenvalues)] : []),
    ...(density ? [formatDensity(density)] : []),
    ...(sharpness ? formatSharpness(sharpness) : []),
    ...(landscape ? [formatLandscape(landscape)] : []),
  ]
}

const formatEstimate = ({ value, error }: MeanEstimate): string =>
  Number.isFinite(error)
    ? `${formatNumber(value)} +- ${formatNumber(Number(error.toPrecision(2)))}`
    : formatNumber(value)

function formatEigenvalues({ largest, smallest, steps, converged }: Eigenvalues): string {
  const rows = [
    ...largest.map(({ value, bound }, i) => [`largest ${i + 1}`, formatNumber(value), bound.toExponential(1)]),
    ['smallest', formatNumber(smallest.value), smallest.bound.toExponential(1)],
  ]
  const head = `eigenvalues after ${formatCount(steps, 'Lanczos step')}${converged ? '' : ', short of the tolerance'}:`
  return `${head}\n${formatTable(['', 'value', 'within'], rows)}`
}

function formatDensity({ nodes, weights, mean, meanSquare, probes }: SpectralDensity): string {
  const negative = nodes.reduce((sum, node, i) => sum + (node < 0 ? weights[i]! : 0), 0)
  const [least, most] = [Math.min(...nodes), Math.max(...nodes)]
  return `spectrum: from ${formatNumber(least)} to ${formatNumber(most)}, mean ${formatEstimate(mean)}, mean square ${formatEstimate(meanSquare)}, ${(100 * negative).toFixed(1)} % of it below 0, from ${formatCount(probes, 'probe')}`
}

const formatSharpness = ({ rho, loss, gradientNorm, ascent, average }: Sharpness): string[] => [
  `loss ${formatNumber(loss)}, norm of the gradient ${formatNumber(gradientNorm)}`,
  `rise within ${rho}: ${formatNumber(ascent)} along the gradient (SAM)${average ? `, ${formatEstimate(average)} on average over directions` : ''}`,
]

function formatLandscape({ axis, losses }: Landscape): string {
  const finite = losses.flat().filter(Number.isFinite)
  return `landscape: losses from ${formatNumber(Math.min(...finite))} to ${formatNumber(Math.max(...finite))} on ${axis.length} x ${axis.length} points`
}
