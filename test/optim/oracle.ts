/**
 * Independent implementation of the optimizers, from the formulas in their papers and the PyTorch manual, with scalar
 * loops over plain arrays and a sort for the threshold. It shares no code with src/.
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
    curvature?: 'sampled' | 'empirical' | 'hutchinson'
  } | null
  readonly clip?: number
  readonly clipValue?: number
  /** The settings of coordinate i. */
  readonly group?: (i: number) => Group
}

interface Group {
  readonly lrScale?: number
  readonly weightDecay?: number
  readonly enhanced?: boolean
  readonly startStep?: number
}

interface OracleProblem {
  readonly start: readonly number[]
  readonly gradient: (theta: readonly number[]) => number[]
  readonly curvature: (theta: readonly number[]) => number[]
  readonly lrFactor: (t: number) => number
  /** The rounding applied when a number is stored: Math.fround, or the identity. */
  readonly store: (x: number) => number
}

/** The parameters after each of `steps` steps. */
export function oracleTrajectory(options: OracleOptions, problem: OracleProblem, steps: number) {
  const { base, sam, ire, clip, clipValue, group = (): Group => ({}) } = options
  const { gradient, curvature, lrFactor, store } = problem
  const zeros = () => problem.start.map(() => 0)
  const own = problem.start.map((_, i) => ({ lrScale: 1, enhanced: true, startStep: 0, ...group(i) }))
  const decay = problem.start.map((_, i) => group(i).weightDecay ?? base.weightDecay)
  let theta = [...problem.start]
  let [buffer, m, v, F, n] = [zeros(), zeros(), zeros(), zeros(), zeros()]
  const trajectory: number[][] = []

  for (let t = 0; t < steps; t++) {
    const lr = base.lr * lrFactor(t)
    const frozen = own.map(({ startStep }) => t < startStep)
    const maskFrozen = (g: number[]) => g.map((x, i) => (frozen[i] ? 0 : x))

    if (ire && t >= ire.warmup && (t - ire.warmup) % ire.interval === 0) {
      const raw = ire.curvature === 'empirical' ? gradient(theta) : curvature(theta)
      const h = ire.curvature === 'hutchinson' ? raw : raw.map((x) => x * x)
      const ranked = own.map(({ enhanced }, i) => enhanced && !frozen[i])
      F = h.map((x, i) => (!ranked[i] ? F[i]! : ire.beta > 0 ? store(ire.beta * F[i]! + (1 - ire.beta) * x) : x))
      const descending = F.filter((_, i) => ranked[i]).sort((a, b) => b - a)
      const k = Math.floor((1 - ire.gamma) * descending.length)
      const threshold = k === 0 ? Number.POSITIVE_INFINITY : descending[k - 1]!
      n = F.map((x, i) => (ranked[i] && x <= threshold ? 1 : 0))
    }

    let at = theta
    if (sam) {
      const g = maskFrozen(gradient(theta))
      const weight = (i: number) => (sam.adaptive ? Math.abs(theta[i]!) : 1)
      const norm = Math.sqrt(g.reduce((sum, x, i) => sum + (weight(i) * x) ** 2, 0))
      at = theta.map((x, i) => store(x + (sam.rho * weight(i) ** 2 * g[i]!) / (norm + 1e-12)))
    }
    let g = maskFrozen(gradient(at))
    if (clipValue !== undefined) g = g.map((x) => store(Math.sign(x) * Math.min(Math.abs(x), clipValue)))
    if (clip !== undefined) {
      const factor = clip / (Math.sqrt(g.reduce((sum, x) => sum + x * x, 0)) + 1e-6)
      if (factor < 1) g = g.map((x) => x * factor)
    }

    const previous = { buffer, m, v }
    const rate = own.map(({ lrScale }) => lr * lrScale)
    let d: number[]
    if (base.kind === 'sgd') {
      g = g.map((x, i) => x + decay[i]! * theta[i]!)
      const fresh = g.map((x, i) =>
        t === own[i]!.startStep ? x : base.momentum * buffer[i]! + (1 - base.dampening) * x,
      )
      const direction = base.nesterov ? g.map((x, i) => x + base.momentum * fresh[i]!) : base.momentum > 0 ? fresh : g
      d = direction.map((x, i) => -rate[i]! * x)
      buffer = fresh.map(store)
    } else if (base.kind === 'adam' || base.kind === 'adamw') {
      if (base.kind === 'adam') g = g.map((x, i) => x + decay[i]! * theta[i]!)
      const first = g.map((x, i) => base.beta1 * m[i]! + (1 - base.beta1) * x)
      const second = g.map((x, i) => base.beta2 * v[i]! + (1 - base.beta2) * x * x)
      d = theta.map((x, i) => {
        const updates = t + 1 - own[i]!.startStep
        const mHat = first[i]! / (1 - base.beta1 ** updates)
        const vHat = second[i]! / (1 - base.beta2 ** updates)
        const adam = (-rate[i]! * mHat) / (Math.sqrt(vHat) + base.eps)
        return base.kind === 'adamw' ? adam - rate[i]! * decay[i]! * x : adam
      })
      m = first.map(store)
      v = second.map(store)
    } else {
      throw new Error(`the oracle has no formula for ${(base as { kind: string }).kind}`)
    }

    const kappa = ire && t >= ire.warmup ? ire.kappa * (ire.kappaDecay ? lr / base.lr : 1) : 0
    theta = theta.map((x, i) => (frozen[i] ? x : store(x + (1 + kappa * n[i]!) * d[i]!)))
    const keepFrozen = (now: number[], before: number[]) => now.map((x, i) => (frozen[i] ? before[i]! : x))
    buffer = keepFrozen(buffer, previous.buffer)
    m = keepFrozen(m, previous.m)
    v = keepFrozen(v, previous.v)
    trajectory.push(theta)
  }
  return trajectory
}
