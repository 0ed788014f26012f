/**
 * The optimizers again, from the formulas in their papers and the PyTorch manual: scalar loops over one plain list of
 * numbers, a sort for the threshold. It shares nothing with src/.
 */
export interface OracleOptions {
  readonly base:
    | { kind: 'sgd'; lr: number; momentum: number; dampening: number; nesterov: boolean; weightDecay: number }
    | { kind: 'adam' | 'adamw'; lr: number; beta1: number; beta2: number; eps: number; weightDecay: number }
  readonly sam: { rho: number; adaptive: boolean } | null
  readonly ire: {
    kappa: number
    gamma: number
    interval: number
    warmup: number
    beta: number
    kappaDecay: boolean
    empirical?: boolean
  } | null
  readonly clip?: number
}

export interface OracleProblem {
  readonly start: readonly number[]
  readonly gradient: (theta: readonly number[]) => number[]
  readonly curvature: (theta: readonly number[]) => number[]
  readonly lrFactor: (t: number) => number
  /** What storing a number does to it: Math.fround, or nothing. */
  readonly store: (x: number) => number
}

/** The parameters after each of `steps` steps. */
export function oracleTrajectory({ base, sam, ire, clip }: OracleOptions, problem: OracleProblem, steps: number) {
  const { gradient, curvature, lrFactor, store } = problem
  let theta = [...problem.start]
  const zeros = () => theta.map(() => 0)
  let [buffer, m, v, F, n] = [zeros(), zeros(), zeros(), zeros(), zeros()]
  const trajectory: number[][] = []

  for (let t = 0; t < steps; t++) {
    const lr = base.lr * lrFactor(t)

    if (ire && t >= ire.warmup && (t - ire.warmup) % ire.interval === 0) {
      const h = (ire.empirical ? gradient(theta) : curvature(theta)).map((x) => x * x)
      F = h.map((x, i) => (ire.beta > 0 ? store(ire.beta * F[i]! + (1 - ire.beta) * x) : x))
      const descending = [...F].sort((a, b) => b - a)
      const k = Math.floor((1 - ire.gamma) * F.length)
      const threshold = k === 0 ? Number.POSITIVE_INFINITY : descending[k - 1]!
      n = F.map((x) => (x <= threshold ? 1 : 0))
    }

    let at = theta
    if (sam) {
      const g = gradient(theta)
      const weight = (i: number) => (sam.adaptive ? Math.abs(theta[i]!) : 1)
      const norm = Math.sqrt(g.reduce((sum, x, i) => sum + (weight(i) * x) ** 2, 0))
      at = theta.map((x, i) => store(x + (sam.rho * weight(i) ** 2 * g[i]!) / (norm + 1e-12)))
    }
    let g = gradient(at)
    if (clip !== undefined) {
      const factor = clip / (Math.sqrt(g.reduce((sum, x) => sum + x * x, 0)) + 1e-6)
      if (factor < 1) g = g.map((x) => x * factor)
    }

    let d: number[]
    if (base.kind === 'sgd') {
      g = g.map((x, i) => x + base.weightDecay * theta[i]!)
      const fresh = g.map((x, i) => (t === 0 ? x : base.momentum * buffer[i]! + (1 - base.dampening) * x))
      const direction = base.nesterov ? g.map((x, i) => x + base.momentum * fresh[i]!) : base.momentum > 0 ? fresh : g
      d = direction.map((x) => -lr * x)
      buffer = fresh.map(store)
    } else {
      if (base.kind === 'adam') g = g.map((x, i) => x + base.weightDecay * theta[i]!)
      const first = g.map((x, i) => base.beta1 * m[i]! + (1 - base.beta1) * x)
      const second = g.map((x, i) => base.beta2 * v[i]! + (1 - base.beta2) * x * x)
      d = theta.map((x, i) => {
        const mHat = first[i]! / (1 - base.beta1 ** (t + 1))
        const vHat = second[i]! / (1 - base.beta2 ** (t + 1))
        const adam = (-lr * mHat) / (Math.sqrt(vHat) + base.eps)
        return base.kind === 'adamw' ? adam - lr * base.weightDecay * x : adam
      })
      m = first.map(store)
      v = second.map(store)
    }

    const kappa = ire && t >= ire.warmup ? ire.kappa * (ire.kappaDecay ? lr / base.lr : 1) : 0
    theta = theta.map((x, i) => store(x + (1 + kappa * n[i]!) * d[i]!))
    trajectory.push(theta)
  }
  return trajectory
}
