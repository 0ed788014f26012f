import { availableParallelism } from 'node:os'
import type { Contestant } from './contender.js'
import { base, enhanced, reference } from './contenders.js'
import { busySeconds } from './machine.js'
import type { Ready, Turn } from './protocol.js'
import { type Spread, spreadOf } from './statistics.js'

/** What one contender came to on one model. */
export interface Result {
  readonly name: string
  readonly about: string
  /** Why there are no figures. */
  readonly unable?: string
  /** Losses of the first steps, which are to agree with those of the reference. */
  readonly losses: readonly number[]
  /** Largest difference to the reference's losses, relative; with IRE that of the first, for then its steps are its own. */
  readonly disagreement?: number
  readonly parameters?: number
  readonly stepsPerTurn?: number
  /** Seconds per step of each turn. */
  readonly turns?: readonly number[]
  readonly seconds?: Spread
  /** Seconds of computing per step by all of its threads, median. */
  readonly cpu?: number
  /** Time over the reference's in the same round. */
  readonly toReference?: Spread
  /** With IRE, time over that without it in the same round. */
  readonly toBase?: Spread
  readonly peak?: number
  /** Seconds per step inside onnxruntime, median. */
  readonly inRuntime?: number
  /** Cores that were busy with something else, median over the turns. */
  readonly others?: number
}

export interface RoundOptions {
  readonly rounds: number
  /** What a turn is to take, seconds. */
  readonly seconds: number
  /** Seconds that an answer may take. */
  readonly patience: number
  /** Steps between refreshes of IRE's mask: turns of ours are multiples. */
  readonly interval: number
  /** Whose times the others' are divided by. Default PyTorch. */
  readonly against?: string
}

/** Steps before the measurement; their losses are compared. */
const checked = 3

interface Entrant {
  readonly contender: Contestant
  readonly ready: Ready
  readonly losses: readonly number[]
  readonly steps: number
  readonly turns: (Turn & { readonly others?: number })[]
  unable?: string
}

/** Starts all contenders, then lets them take turns, ABCABC..., so that what disturbs one disturbs all. */
export async function measure(contestants: readonly Contestant[], options: RoundOptions): Promise<Result[]> {
  const entrants = new Map<string, Entrant>()
  const failed = new Map<string, string>()
  try {
    for (const contestant of contestants) {
      const entered = await enter(contestant, options)
      if ('unable' in entered) failed.set(contestant.name, entered.unable)
      else entrants.set(contestant.name, entered)
    }
    for (let round = 0; round < options.rounds; round++)
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
  } finally {
    for (const contestant of contestants) await contestant.stop()
  }
  return contestants.map(({ name }) => {
    const entrant = entrants.get(name)
    return entrant
      ? resultOf(name, entrant, entrants, options.against ?? reference)
      : { name, about: '', unable: failed.get(name)!, losses: [] }
  })
}

async function enter(contender: Contestant, options: RoundOptions): Promise<Entrant | { unable: string }> {
  const ready = await contender.start()
  if ('unable' in ready) return ready
  const first = await contender.run(checked)
  if ('unable' in first) return first
  const next = await contender.run(1)
  if ('unable' in next) return next
  const fitting = Math.min(200, Math.round(options.seconds / next.seconds))
  const whole = contender.name.startsWith(base) ? options.interval : 1
  const steps = Math.max(1, Math.round(fitting / whole)) * whole
  return { contender, ready, losses: first.losses, steps, turns: [] }
}

function resultOf(name: string, entrant: Entrant, all: ReadonlyMap<string, Entrant>, against: string): Result {
  const { ready, losses, steps, turns } = entrant
  const perStep = ({ turns, steps }: Entrant) => turns.map(({ seconds }) => seconds / steps)
  const own = perStep(entrant)
  const over = (other: string) => {
    const theirs = all.get(other)
    return theirs && other !== name ? spreadOf(own.map((x, i) => x / perStep(theirs)[i]!)) : undefined
  }
  const toReference = over(against)
  const toBase = name === enhanced ? over(base) : undefined
  const judge = all.get(against) ?? all.get(base)
  const common = name === enhanced ? losses.slice(0, 1) : losses
  return {
    name,
    about: ready.about,
    losses,
    ...(judge && { disagreement: Math.max(...common.map((x, i) => Math.abs(x / judge.losses[i]! - 1))) }),
    parameters: ready.parameters,
    stepsPerTurn: steps,
    turns: own,
    seconds: spreadOf(own),
    ...median('cpu', turns, (turn) => turn.cpu && turn.cpu / steps),
    ...(toReference && { toReference }),
    ...(toBase && { toBase }),
    ...(turns[0]?.peak !== undefined && { peak: Math.max(...turns.map(({ peak = 0 }) => peak)) }),
    ...median('inRuntime', turns, (turn) => turn.inRuntime && turn.inRuntime / steps),
    ...median('others', turns, ({ others }) => others),
  }
}

/** The median of what all turns tell, under a name; nothing where they do not. */
function median<K extends string>(
  name: K,
  turns: Entrant['turns'],
  of: (turn: Entrant['turns'][number]) => number | undefined,
): Partial<Record<K, number>> {
  const values = turns.map(of).filter((value) => value !== undefined)
  return values.length > 0 ? ({ [name]: spreadOf(values).median } as Record<K, number>) : {}
}
