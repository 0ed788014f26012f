/**
 * Independent implementation of the optimizers, from the formulas in their papers and the PyTorch manual, with scalar
 * loops over plain arrays and a sort for the threshold. It shares no code with src/.
 */
export interface OracleOptions {
  readonly base: OracleBase
  readonly sam: {
    rho: number
    adaptive: boolean
    friendly?: { sigma: number; meanDecay: number }
    look?: { alpha: number; interval: number }
  } | null
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

/** Kind and all options of a base optimizer. */
export interface OracleBase {
  readonly kind: string
  readonly lr: number
  readonly weightDecay: number
  readonly [option: string]: unknown
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
  /** The tensors, if the rules of the base optimizer need them; they cover all coordinates in order. */
  readonly tensors?: readonly OracleTensor[]
}

interface OracleTensor {
  readonly length: number
  readonly dims: readonly number[]
  readonly matrix: { readonly rows: number; readonly columns: number; readonly outputs: string } | null
}

/** The parameters after each of `steps` steps. */
export function oracleTrajectory(options: OracleOptions, problem: OracleProblem, steps: number) {
  const { base, sam, ire, clip, clipValue, group = (): Group => ({}) } = options
  const { gradient, curvature, lrFactor, store } = problem
  const zeros = () => problem.start.map(() => 0)
  const own = problem.start.map((_, i) => ({ lrScale: 1, enhanced: true, startStep: 0, ...group(i) }))
  const decay = problem.start.map((_, i) => group(i).weightDecay ?? base.weightDecay)
  let theta = [...problem.start]
  let [F, n] = [zeros(), zeros()]
  let [mean, component] = [zeros(), zeros()]
  const seen = problem.start.map(() => false)
  const states = problem.start.map((): Record<string, number> => ({}))
  const distance = {
    D: Number(base['d0']),
    numerator: 0,
    state: problem.start.map(() => ({ m: 0, v: 0, q: 0, moved: 0 })),
  }
  const tensorStates = (problem.tensors ?? []).map((): Record<string, number[]> => ({}))
  const [rule, tensorRule] = [rules[base.kind], tensorRules[base.kind]]
  if (!rule && !tensorRule && base.kind !== 'prodigy') throw new Error(`the oracle has no formula for ${base.kind}`)
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
    const unperturbed = maskFrozen(gradient(theta))
    const ascends = sam !== null && (!sam.look || t % sam.look.interval === 0)
    if (ascends) {
      let g = unperturbed
      if (sam.friendly) {
        const { sigma, meanDecay } = sam.friendly
        g = g.map((x, i) => x - (seen[i] ? sigma * mean[i]! : 0))
        mean = mean.map((x, i) => {
          if (frozen[i]) return x
          const next = seen[i] ? meanDecay * x + (1 - meanDecay) * unperturbed[i]! : unperturbed[i]!
          seen[i] = true
          return store(next)
        })
      }
      const weight = (i: number) => (sam.adaptive ? Math.abs(theta[i]!) : 1)
      const norm = Math.sqrt(g.reduce((sum, x, i) => sum + (weight(i) * x) ** 2, 0))
      at = theta.map((x, i) => store(x + (sam.rho * weight(i) ** 2 * g[i]!) / (norm + 1e-12)))
    }
    let g = maskFrozen(gradient(at))
    if (sam?.look) {
      const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
      if (ascends) {
        const along = dot(g, unperturbed) / dot(unperturbed, unperturbed)
        component = g.map((x, i) => (frozen[i] ? component[i]! : store(x - along * unperturbed[i]!)))
      } else {
        const remembered = maskFrozen(component)
        const length = Math.sqrt(dot(remembered, remembered))
        const factor = (sam.look.alpha * Math.sqrt(dot(g, g))) / length
        if (length > 0) g = g.map((x, i) => x + factor * remembered[i]!)
      }
    }
    if (clipValue !== undefined) g = g.map((x) => store(Math.sign(x) * Math.min(Math.abs(x), clipValue)))
    if (clip !== undefined) {
      const factor = clip / (Math.sqrt(g.reduce((sum, x) => sum + x * x, 0)) + 1e-6)
      if (factor < 1) g = g.map((x) => x * factor)
    }

    const kappa = ire && t >= ire.warmup ? ire.kappa * (ire.kappaDecay ? lr / base.lr : 1) : 0
    const enhancement = n.map((ni) => 1 + kappa * ni)
    const enhancesItself = base.kind.startsWith('schedule-free')
    const d = theta.map((x, i) => {
      const { lrScale, startStep } = own[i]!
      if (frozen[i] || !rule) return 0
      const at = {
        theta: x,
        g: g[i]!,
        t: t + 1 - startStep,
        lr: lr * lrScale,
        decay: decay[i]!,
        enhancement: enhancement[i]!,
      }
      const [displacement, next] = rule(base as never, at, (name) => states[i]![name] ?? 0)
      states[i] = Object.fromEntries(Object.entries(next).map(([name, y]) => [name, store(y)]))
      return displacement
    })

    if (base.kind === 'prodigy') {
      const { betas, eps, d0, dCoefficient, biasCorrection, safeguardWarmup } = base as unknown as ProdigyLike
      const [beta1, beta2] = betas
      const { D } = distance
      let [r, length] = [0, 0]
      for (const [i, s] of distance.state.entries()) {
        const { lrScale, startStep } = own[i]!
        if (frozen[i]) continue
        const age = t + 1 - startStep
        const correction = biasCorrection ? Math.sqrt(1 - beta2 ** age) / (1 - beta1 ** age) : 1
        const step = D * lr * lrScale * correction
        r -= (D / d0) * step * g[i]! * s.moved
        s.m = store(beta1 * s.m + (1 - beta1) * D * g[i]!)
        s.v = store(beta2 * s.v + (1 - beta2) * (D * g[i]!) ** 2)
        s.q = store(Math.sqrt(beta2) * s.q + (D / d0) * (safeguardWarmup ? D : step) * g[i]!)
        length += Math.abs(s.q)
        d[i] = -step * (s.m / (Math.sqrt(s.v) + D * eps) + decay[i]! * theta[i]!)
        s.moved = store(s.moved + enhancement[i]! * d[i]!)
      }
      distance.numerator = Math.sqrt(beta2) * distance.numerator + r
      if (length > 0) distance.D = Math.max(D, (dCoefficient * distance.numerator) / length)
    }

    let from = 0
    for (const [i, tensor] of tensorRule ? problem.tensors!.entries() : []) {
      const to = from + tensor.length
      if (tensor.length > 0 && !frozen[from]) {
        const { lrScale, startStep } = own[from]!
        const found = tensorRule!(
          base as never,
          {
            ...tensor,
            theta: theta.slice(from, to),
            g: g.slice(from, to),
            t: t + 1 - startStep,
            lr: lr * lrScale,
            decay: decay[from]!,
          },
          (name, length) => tensorStates[i]![name] ?? Array<number>(length).fill(0),
        )
        if (found) {
          const [displacement, next] = found
          d.splice(from, tensor.length, ...displacement)
          tensorStates[i] = Object.fromEntries(Object.entries(next).map(([name, y]) => [name, y.map(store)]))
        }
      }
      from = to
    }

    theta = theta.map((x, i) => (frozen[i] ? x : store(x + (enhancesItself ? 1 : enhancement[i]!) * d[i]!)))
    trajectory.push(theta)
  }
  return trajectory
}

/** One coordinate in one update; t counts its updates from 1. */
interface Coordinate {
  readonly theta: number
  readonly g: number
  readonly t: number
  readonly lr: number
  readonly decay: number
  /** 1 + kappa n, for rules that multiply themselves. */
  readonly enhancement: number
}

/** Displacement and next state of a coordinate; a state is 0 before the first update. */
type Rule<Options> = (
  options: Options,
  at: Coordinate,
  state: (name: string) => number,
) => readonly [displacement: number, next: Readonly<Record<string, number>>]

interface AdamLike {
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly amsgrad?: boolean
  readonly decoupled?: boolean
}

interface ProdigyLike extends AdamLike {
  readonly d0: number
  readonly dCoefficient: number
  readonly biasCorrection: boolean
  readonly safeguardWarmup: boolean
}

interface AveragingLike {
  readonly warmup: number
  readonly weightPower: number
  readonly weightLrPower: number
}

/** Schedule-Free training with the iterates y and z of the paper, for the direction u; `lr` without the schedule. */
function scheduleFreeStep(
  { warmup, weightPower, weightLrPower }: AveragingLike,
  beta: number,
  { theta: y, t, lr, enhancement }: Coordinate,
  direction: number,
  state: (name: string) => number,
) {
  const u = enhancement * direction
  const growth = warmup > 0 ? Math.min(1, t / warmup) : 1
  const weight = t ** weightPower * growth ** weightLrPower
  const total = state('total') + weight
  const c = weight / total
  // z is y at first; it is kept as z - y, the number that the implementation stores.
  const z = y + state('offset')
  const nextY = (1 - c) * y + c * z + lr * growth * (beta * (1 - c) - 1) * u
  const nextZ = z - lr * growth * u
  return [nextY - y, { total, offset: nextZ - nextY }] as const
}

/** The gradient with L2, the moments, and their corrected values. */
function adamMoments(
  { betas: [beta1, beta2] }: AdamLike,
  { g, t }: Pick<Coordinate, 'g' | 't'>,
  state: (name: string) => number,
) {
  const m = beta1 * state('m') + (1 - beta1) * g
  const v = beta2 * state('v') + (1 - beta2) * g * g
  return { m, v, mHat: m / (1 - beta1 ** t), correction: 1 - beta2 ** t }
}

const adamRule =
  (decoupled: boolean): Rule<AdamLike> =>
  (options, at, state) => {
    const { theta, lr, decay, t } = at
    const { m, v, mHat, correction } = adamMoments(options, { g: decoupled ? at.g : at.g + decay * theta, t }, state)
    const largest = Math.max(state('largest'), v)
    const d = (-lr * mHat) / (Math.sqrt((options.amsgrad ? largest : v) / correction) + options.eps)
    return [decoupled ? d - lr * decay * theta : d, { m, v, largest }]
  }

type Matrix = readonly (readonly number[])[]

const multiply = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) => b[0]!.map((_, j) => row.reduce((sum, x, k) => sum + x * b[k]![j]!, 0)))
const transpose = (a: Matrix): number[][] => a[0]!.map((_, j) => a.map((row) => row[j]!))
const combine = (p: number, a: Matrix, q: number, b: Matrix): number[][] =>
  a.map((row, i) => row.map((x, j) => p * x + q * b[i]![j]!))

/** A tensor in one update. */
interface TensorAt extends OracleTensor, Omit<Coordinate, 'theta' | 'g' | 'enhancement'> {
  readonly theta: readonly number[]
  readonly g: readonly number[]
}

/** Displacement and next state of a whole tensor; null if the rule of coordinates applies. */
type TensorRule<Options> = (
  options: Options,
  at: TensorAt,
  state: (name: string, length: number) => readonly number[],
) => readonly [displacement: readonly number[], next: Readonly<Record<string, readonly number[]>>] | null

const meanOf = (x: readonly number[]) => x.reduce((sum, y) => sum + y, 0) / x.length
const rmsOf = (x: readonly number[]) => Math.sqrt(meanOf(x.map((y) => y * y)))

const tensorRules: Readonly<Record<string, TensorRule<never>>> = {
  adafactor: (
    {
      beta2Decay,
      eps: [eps1, eps2],
      d,
    }: { readonly beta2Decay: number; readonly eps: readonly [number, number]; readonly d: number },
    { theta, g, t, lr, decay, dims, length },
    state,
  ) => {
    const newest = t ** beta2Decay
    const mix = (old: readonly number[], now: readonly number[]) =>
      old.map((x, i) => (1 - newest) * x + newest * now[i]!)
    let V: readonly number[]
    let next: Record<string, readonly number[]>
    if (dims.length === 2) {
      const [rows, columns] = dims as [number, number]
      const squares = (i: number, j: number) => g[i * columns + j]! ** 2
      const each = (n: number, f: (i: number) => number) => Array.from({ length: n }, (_, i) => f(i))
      const R = mix(
        state('R', rows),
        each(rows, (i) => meanOf(each(columns, (j) => squares(i, j)))),
      )
      const C = mix(
        state('C', columns),
        each(columns, (j) => meanOf(each(rows, (i) => squares(i, j)))),
      )
      const scale = Math.max(meanOf(R), eps1)
      V = g.map((_, k) => (R[Math.floor(k / columns)]! * C[k % columns]!) / scale)
      next = { R, C }
    } else {
      V = mix(
        state('V', length),
        g.map((x) => x * x),
      )
      next = { V }
    }
    const u = g.map((x, i) => x / Math.max(Math.sqrt(V[i]!), eps1))
    const size = Math.max(eps2, rmsOf(theta)) * Math.min(lr, 1 / Math.sqrt(t))
    const limited = Math.max(1, rmsOf(u) / d)
    return [u.map((x, i) => (-size * x) / limited - lr * decay * theta[i]!), next]
  },

  'adamw-8bit': (
    options: AdamLike & { readonly blockSize: number; readonly minSize: number },
    { theta, g, t, lr, decay, length },
    state,
  ) => {
    if (length < options.minSize) return null
    const { blockSize } = options
    const [codes, scales] = [state('codes', length), state('scales', Math.ceil(length / blockSize))]
    const v: number[] = []
    const first: number[] = []
    const d = g.map((x, i) => {
      const root = codes[i]! / 127
      const m = scales[Math.floor(i / blockSize)]! * Math.sign(root) * root * root
      const found = adamMoments(options, { g: x, t }, (name) => (name === 'm' ? m : state('v', length)[i]!))
      v.push(found.v)
      first.push(found.m)
      return -lr * (found.mHat / (Math.sqrt(found.v / found.correction) + options.eps) + decay * theta[i]!)
    })
    const largest = scales.map((_, b) => Math.max(...first.slice(b * blockSize, (b + 1) * blockSize).map(Math.abs)))
    const nextCodes = first.map((m, i) =>
      Math.round(127 * Math.sign(m) * Math.sqrt(Math.abs(m) / Math.max(1e-30, largest[Math.floor(i / blockSize)]!))),
    )
    return [d, { codes: nextCodes, scales: largest, v }]
  },

  muon: (
    {
      momentum,
      nesterov,
      iterations,
      scale,
    }: { readonly momentum: number; readonly nesterov: boolean; readonly iterations: number; readonly scale: string },
    { theta, g, lr, decay, matrix, length },
    state,
  ) => {
    if (!matrix) return null
    const { rows, columns, outputs } = matrix
    const m = state('m', length).map((x, i) => momentum * x + (1 - momentum) * g[i]!)
    const u = nesterov ? m.map((x, i) => momentum * x + (1 - momentum) * g[i]!) : m
    const norm = Math.max(1e-7, Math.hypot(...u))
    let x: Matrix = Array.from({ length: rows }, (_, i) => u.slice(i * columns, (i + 1) * columns).map((y) => y / norm))
    const isTall = rows > columns
    if (isTall) x = transpose(x)
    for (let k = 0; k < iterations; k++) {
      const square = multiply(x, transpose(x))
      x = combine(3.4445, x, 1, multiply(combine(-4.775, square, 2.0315, multiply(square, square)), x))
    }
    if (isTall) x = transpose(x)
    const factor =
      scale === 'original'
        ? Math.sqrt(Math.max(1, outputs === 'rows' ? rows / columns : columns / rows))
        : 0.2 * Math.sqrt(Math.max(rows, columns))
    return [x.flat().map((y, i) => -lr * (factor * y + decay * theta[i]!)), { m }]
  },
}

const rules: Readonly<Record<string, Rule<never>>> = {
  'adamw-8bit': (options: AdamLike, at, state) => adamRule(true)(options, at, state),

  muon: (options: AdamLike & { readonly adamLrFactor: number }, at, state) =>
    adamRule(true)(options, { ...at, lr: at.lr * options.adamLrFactor }, state),

  sgd: (
    {
      momentum,
      dampening,
      nesterov,
    }: { readonly momentum: number; readonly dampening: number; readonly nesterov: boolean },
    { theta, g: loss, t, lr, decay },
    state,
  ) => {
    const g = loss + decay * theta
    const buffer = t === 1 ? g : momentum * state('buffer') + (1 - dampening) * g
    return [-lr * (nesterov ? g + momentum * buffer : momentum > 0 ? buffer : g), { buffer }]
  },

  adam: adamRule(false),
  adamw: adamRule(true),

  nadam: (options: AdamLike & { readonly momentumDecay: number }, at, state) => {
    const { theta, t, lr, decay } = at
    const g = options.decoupled ? at.g : at.g + decay * theta
    const { m, v, correction } = adamMoments(options, { g, t }, state)
    const mu = (i: number) => options.betas[0] * (1 - 0.5 * 0.96 ** (i * options.momentumDecay))
    let product = 1
    for (let i = 1; i <= t; i++) product *= mu(i)
    const root = Math.sqrt(v / correction) + options.eps
    const ofGradient = (lr * (1 - mu(t)) * g) / (1 - product) / root
    const ofMoment = (lr * mu(t + 1) * m) / (1 - product * mu(t + 1)) / root
    return [-ofGradient - ofMoment - (options.decoupled ? lr * decay * theta : 0), { m, v }]
  },

  radam: (options: AdamLike, at, state) => {
    const { theta, t, lr, decay } = at
    const beta2 = options.betas[1]
    const g = options.decoupled ? at.g : at.g + decay * theta
    const { m, v, mHat, correction } = adamMoments(options, { g, t }, state)
    const limit = 2 / (1 - beta2) - 1
    const rho = limit - (2 * t * beta2 ** t) / (1 - beta2 ** t)
    let d = -lr * mHat
    if (rho > 5) {
      const rectification = Math.sqrt(((rho - 4) * (rho - 2) * limit) / ((limit - 4) * (limit - 2) * rho))
      d *= (rectification * Math.sqrt(correction)) / (Math.sqrt(v) + options.eps)
    }
    return [options.decoupled ? d - lr * decay * theta : d, { m, v }]
  },

  ademamix: (
    options: {
      readonly betas: readonly [number, number, number]
      readonly eps: number
      readonly alpha: number
      readonly alphaWarmup: number
      readonly beta3Warmup: number
    },
    { theta, g, t, lr, decay },
    state,
  ) => {
    const [beta1, beta2, last] = options.betas
    const { alphaWarmup, beta3Warmup } = options
    const alpha = alphaWarmup > 0 ? Math.min(1, t / alphaWarmup) * options.alpha : options.alpha
    // The half-life of the slow moment, in updates, grows linearly.
    const halfLife = (beta: number) => -Math.LN2 / Math.log(beta)
    const current = halfLife(beta1) + (t / beta3Warmup) * (halfLife(last) - halfLife(beta1))
    const beta3 = t < beta3Warmup ? 0.5 ** (1 / current) : last
    const slow = beta3 * state('slow') + (1 - beta3) * g
    const { m, v, mHat, correction } = adamMoments({ ...options, betas: [beta1, beta2] }, { g, t }, state)
    return [-lr * ((mHat + alpha * slow) / (Math.sqrt(v / correction) + options.eps) + decay * theta), { m, v, slow }]
  },

  'schedule-free-adamw': (options: AveragingLike & AdamLike, at, state) => {
    const { v, correction } = adamMoments(options, at, state)
    const u = at.g / (Math.sqrt(v / correction) + options.eps) + at.decay * at.theta
    const [d, next] = scheduleFreeStep(options, options.betas[0], at, u, state)
    return [d, { ...next, v }]
  },

  'schedule-free-sgd': (options: AveragingLike & { readonly momentum: number }, at, state) =>
    scheduleFreeStep(options, options.momentum, at, at.g + at.decay * at.theta, state),

  lion: ({ betas: [beta1, beta2] }: AdamLike, { theta, g, lr, decay }, state) => {
    const direction = Math.sign(beta1 * state('m') + (1 - beta1) * g)
    return [-lr * (direction + decay * theta), { m: beta2 * state('m') + (1 - beta2) * g }]
  },

  rmsprop: (
    {
      alpha,
      eps,
      momentum,
      centered,
    }: { readonly alpha: number; readonly eps: number; readonly momentum: number; readonly centered: boolean },
    { theta, g: loss, lr, decay },
    state,
  ) => {
    const g = loss + decay * theta
    const v = alpha * state('v') + (1 - alpha) * g * g
    const mean = alpha * state('mean') + (1 - alpha) * g
    const scaled = g / (Math.sqrt(centered ? v - mean * mean : v) + eps)
    const buffer = momentum * state('buffer') + scaled
    return [-lr * (momentum > 0 ? buffer : scaled), { v, mean, buffer }]
  },

  adagrad: (
    {
      lrDecay,
      initialAccumulator,
      eps,
    }: { readonly lrDecay: number; readonly initialAccumulator: number; readonly eps: number },
    { theta, g: loss, t, lr, decay },
    state,
  ) => {
    const g = loss + decay * theta
    const sum = state('sum') + g * g
    return [((-lr / (1 + (t - 1) * lrDecay)) * g) / (Math.sqrt(initialAccumulator + sum) + eps), { sum }]
  },
}
