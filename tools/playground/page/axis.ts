/** Kinds of vertical axes of a chart; percentages have all of 0 to 100 %. */
export type Axis = 'linear' | 'logarithmic' | 'percent'

/** Smallest value of a logarithmic axis: a loss of 0 is drawn here. */
const smallest = 1e-8

/** The value that an axis shows for a value. */
export const drawnValue = (value: number, axis: Axis): number =>
  axis === 'logarithmic' ? Math.max(value, smallest) : value

/** The scale of an axis, as an option of uPlot. */
export const scaleOf = (axis: Axis): { distr?: 3; range?: [number, number] } =>
  axis === 'logarithmic' ? { distr: 3 } : axis === 'percent' ? { range: [0, 1] } : {}

/** A value beside an axis, in at most five characters as long as it has no more than three digits. */
export function tickText(value: number, axis: Axis): string {
  if (axis === 'percent') return `${Math.round(100 * value)} %`
  return value !== 0 && (Math.abs(value) < 1e-2 || Math.abs(value) >= 1e4)
    ? value.toExponential(0)
    : String(Number(value.toPrecision(3)))
}

/** A value in the text of a chart; empty if there is none. */
export function valueText(value: number | null | undefined, axis: Axis): string {
  if (value === null || value === undefined) return ''
  return axis === 'percent' ? `${(100 * value).toFixed(1)} %` : value.toPrecision(3)
}
