/**
 * Exponential moving average of a column, without its bias towards the first value; a missing value stays missing.
 * @param weight of the mean so far, from 0 (the column itself) to below 1
 */
export function smooth(column: readonly (number | null)[], weight: number): (number | null)[] {
  let [mean, total] = [0, 0]
  return column.map((value) => {
    if (value === null) return null
    mean = weight * mean + (1 - weight) * value
    total = weight * total + (1 - weight)
    return mean / total
  })
}
