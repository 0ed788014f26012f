/** Variables that limit or redirect the kernels of a library: their owner is named before the first underscore. */
const restricting = /^(OPENBLAS|GOTO|BLIS|NVPL|MKL|KMP|OMP|GOMP|ONEDNN|DNNL|ATEN|TORCHINDUCTOR|XLA|JAX|NPROC)(_|$)/

/** Environment without variables that restrict the kernels of a library, and the names of those it had. */
export function withoutRestrictions(variables: NodeJS.ProcessEnv): { env: NodeJS.ProcessEnv; removed: string[] } {
  const removed = Object.keys(variables).filter((name) => restricting.test(name))
  return { env: Object.fromEntries(Object.entries(variables).filter(([name]) => !removed.includes(name))), removed }
}
