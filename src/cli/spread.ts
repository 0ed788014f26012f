/** At most `count` of some items, evenly spread: data are often sorted by class. */
export const spread = <T>(items: ArrayLike<T>, count: number): T[] => {
  const chosen = Math.min(count, items.length)
  return Array.from({ length: chosen }, (_, i) => items[Math.floor((i * items.length) / chosen)]!)
}
