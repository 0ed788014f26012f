import { availableParallelism } from 'node:os'
import type { Contender } from './contender.js'
import { base, reference, sharpnessAware, withoutIre } from './contenders.js'
import { busySeconds } from './machine.js'
import type { Ready, Turn, Unable } from './protocol.js'
import { type Disagreement, disagreementOf, remainingSeconds, type Spread, spreadOf } from './statistics.js'

/** Result of one contender on one model. */
export interface Result {
  readonly name: string
  readonly about: string
  readonly build?: string
  /** Reason for missing figures. */
  readonly unable?: string
  /** Losses of the first steps, to be compared with those of the reference. */
  readonly losses: readonly number[]
  readonly disagreement?: Disagreement
  readonly parameters?: number
  readonly stepsPerTurn?: number
  /** Seconds per step, of each turn. */
  readonly turns?: readonly number[]
  readonly seconds?: Spread
  /** CPU seconds per step, summed over all threads of the contender; median over the turns. */
  readonly cpu?: number
  /** Time divided by that of the reference in the same round. */
  readonly toReference?: Spread
  /** With IRE: time divided by that without IRE in the same round. */
  readonly toBase?: Spread
  /** Largest resident memory of the process, in bytes. */
  readonly peak?: number
  /** The part of `peak` that the library took before it read the model. */
  readonly loaded?: number
  /** Peak without `loaded`, divided by that of the reference. */
  readonly peakToReference?: number
  /** Seconds per step inside onnxruntime; median over the turns. */
  readonly inRuntime?: number
  /** Number of cores used by other processes; median over the turns. */
  readonly others?: number
}

interface RoundOptions {
  readonly rounds: number
  /** Target duration of a turn, in seconds. */
  readonly seconds: number
  /** Steps between refreshes of the mask of IRE; the steps of a turn with IRE are a multiple of it. */
  readonly interval: number
  /** Name of the reference, by whose times the others are divided; default: PyTorch. */
  readonly reference?: string
  /** Called as the measurement advances. */
  readonly onProgress?: (progress: Progress) => void
}

/** Start of a contender, or the end of a round: of how many rounds, and how long the rest takes at this rate. */
export type Progress =
  | { readonly starting: string }
  | { readonly round: number; readonly rounds: number; readonly secondsLeft: number }

/** Number of steps before the measurement; their losses are compared: that of the first batch, and after 3 steps. */
const comparedSteps = 4

interface Entrant {
  readonly contender: Contender
  readonly ready: Ready
  readonly losses: readonly number[]
  readonly steps: number
  readonly turns: (Turn & { readonly others?: number })[]
  peak: number | undefined
}

/** Starts all contenders and runs them in turns, ABCABC..., so that disturbances affect all of them. */
export async function measure(contenders: readonly Contender[], options: RoundOptions): Promise<Result[]> {
  const entrants = new Map<string, Entrant>()
  const failed = new Map<string, string>()
  try {
    for (const contender of contenders) {
      options.onProgress?.({ starting: contender.name })
      const entered = await enter(contender, options)
      if ('unable' in entered) failed.set(contender.name, entered.unable)
      else entrants.set(contender.name, entered)
    }
    const start = performance.now()
    for (let round = 0; round < options.rounds; round++) {
      for (const [name, entrant] of entrants) {
        const before = busySeconds()
        const turn = await entrant.contender.run(entrant.steps)
        if ('unable' in turn) {
          failed.set(name, turn.unable)
          entrants.delete(name)
        } else {
          const others = turn.cpu === undefined ? undefined : (busySeconds() - before - turn.cpu) / turn.seconds
          entrant.turns.push({
            ...turn,
            ...(others !== undefined && { others: Math.max(0, Math.min(availableParallelism(), others)) }),
          })
        }
      }
      const elapsed = (performance.now() - start) / 1000
      const secondsLeft = remainingSeconds(elapsed, round + 1, options.rounds)
      options.onProgress?.({ round: round + 1, rounds: options.rounds, secondsLeft })
    }
    for (const entrant of entrants.values()) entrant.peak = entrant.contender.peak()
  } finally {
    for (const contender of contenders) await contender.stop()
  }
  return contenders.map(({ name }) => {
    const entrant = entrants.get(name)
    return entrant
      ? resultOf(name, entrant, entrants, options.reference ?? reference)
      : { name, about: '', unable: failed.get(name)!, losses: [] }
  })
}

async function enter(contender: Contender, options: RoundOptions): Promise<Entrant | { unable: string }> {
  const ready = await contender.start()
  if ('unable' in ready) return ready
  const first = await contender.run(comparedSteps)
  if ('unable' in first) return first
  const perStep = await warmUp(contender, options.seconds)
  if (typeof perStep !== 'number') return perStep
  const whole = withoutIre.has(contender.name) ? options.interval : 1
  const steps = Math.max(1, Math.round(options.seconds / perStep / whole)) * whole
  return { contender, ready, losses: first.losses, steps, turns: [], peak: undefined }
}

/**
 * Runs turns, each twice as long as the one before, until one takes half of `seconds`: the first hundreds of steps of a
 * small model run in code that V8 has not compiled yet. Returns the seconds per step of the last turn.
 */
async function warmUp(contender: Contender, seconds: number): Promise<number | Unable> {
  for (let steps = 1; ; steps *= 2) {
    const turn = await contender.run(steps)
    if ('unable' in turn) return turn
    if (turn.seconds >= seconds / 2) return turn.seconds / steps
  }
}

function resultOf(name: string, entrant: Entrant, all: ReadonlyMap<string, Entrant>, against: string): Result {
  const { ready, losses, steps, turns } = entrant
  const perStep = ({ turns, steps }: Entrant) => turns.map(({ seconds }) => seconds / steps)
  const own = perStep(entrant)
  const over = (other: string) => {
    const divisor = all.get(other)
    return divisor && other !== name ? spreadOf(own.map((x, i) => x / perStep(divisor)[i]!)) : undefined
  }
  const toReference = over(against)
  const counterpart = withoutIre.get(name)
  const toBase = counterpart === undefined ? undefined : over(counterpart)
  const other = all.get(against)
  const compared = other ?? all.get(base)
  // IRE and SAM change the steps, not the first loss.
  const common = withoutIre.has(name) || name === sharpnessAware ? losses.slice(0, 1) : losses
  return {
    name,
    about: ready.about,
    losses,
    ...(ready.build !== undefined && { build: ready.build }),
    ...(compared && { disagreement: disagreementOf(common, compared.losses) }),
    parameters: ready.parameters,
    stepsPerTurn: steps,
    turns: own,
    seconds: spreadOf(own),
    ...median('cpu', turns, (turn) => turn.cpu && turn.cpu / steps),
    ...(toReference && { toReference }),
    ...(toBase && { toBase }),
    ...(entrant.peak !== undefined && { peak: entrant.peak }),
    ...(ready.loaded !== undefined && { loaded: ready.loaded }),
    ...(entrant.peak !== undefined &&
      other?.peak !== undefined &&
      other !== entrant && { peakToReference: trainingMemory(entrant) / trainingMemory(other) }),
    ...median('inRuntime', turns, (turn) => turn.inRuntime && turn.inRuntime / steps),
    ...median('others', turns, ({ others }) => others),
  }
}

/** Memory that training takes: the peak without the library itself. */
const trainingMemory = ({ peak = 0, ready }: Entrant): number => peak - (ready.loaded ?? 0)

/** The median over all turns, under a name; empty if no turn has the value. */
function median<K extends string>(
  name: K,
  turns: Entrant['turns'],
  of: (turn: Entrant['turns'][number]) => number | undefined,
): Partial<Record<K, number>> {
  const values = turns.map(of).filter((value) => value !== undefined)
  return values.length > 0 ? ({ [name]: spreadOf(values).median } as Record<K, number>) : {}
}
