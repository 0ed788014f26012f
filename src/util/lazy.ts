/** Wraps a computation so that it runs at the first call only. */
export function lazy<T>(compute: () => T): () => T {
  let result: { readonly value: T } | undefined
  return () => {
    result ??= { value: compute() }
    return result.value
  }
}
