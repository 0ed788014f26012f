import { describeOptimizer, type Optimizer } from '../optim/optimizer.js'
import type { TrainerOptions } from './options.js'

/** What a run is, apart from how far it has come: a checkpoint only fits a run with the same. */
export interface RunIdentity {
  readonly optimizer: Optimizer
  readonly seed: number
  readonly batchSize: number
  /** What else decides the trajectory, as plain data. */
  readonly options: Readonly<Record<string, unknown>>
}

export function identityOf(trainer: TrainerOptions): RunIdentity {
  const { optimizer, seed = 0, batchSize = 32, groups, decayVectors, layerDecay, schedule } = trainer
  const { clipNorm, clipValue, ema, best, earlyStopping } = trainer
  const dropout = trainer.dropout === 'on' ? 'on' : undefined
  const curvatureBatch = trainer.curvatureBatch === 'fixed' ? 'fixed' : undefined
  const options = {
    ...{ groups, decayVectors, layerDecay, schedule, clipNorm, clipValue, ema, best, earlyStopping },
    ...{ dropout, curvatureBatch },
  }
  return { optimizer, seed, batchSize, options }
}

/** As JSON, for a checkpoint. */
export const writtenIdentity = ({ optimizer, seed, batchSize, options }: RunIdentity): string =>
  JSON.stringify({ optimizer: describeOptimizer(optimizer), seed, batchSize, ...options })

/** Where two of them differ, for people: `clipNorm is 2, it was 1`. */
export function identityChanges(before: string | undefined, now: string): string {
  const [old, own] = [fieldsOf(before), fieldsOf(now)]
  const changes = [...new Set([...Object.keys(old), ...Object.keys(own)])].flatMap((key) => {
    const [a, b] = [old, own].map((fields) => (Object.hasOwn(fields, key) ? fields[key] : undefined))
    return a === b ? [] : [`${key} is ${b ?? 'left out'}, it was ${a ?? 'left out'}`]
  })
  return changes.join('; ') || `it was ${before}`
}

/** JSON of every option, those of the optimizer one by one where both runs may have them. */
function fieldsOf(identity = '{}'): Readonly<Record<string, string>> {
  const flat = (value: unknown, path: string, depth: number): [string, string][] =>
    depth > 0 && typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, each]) => flat(each, path === '' ? key : `${path}.${key}`, depth - 1))
      : [[path, JSON.stringify(value)]]
  try {
    return Object.fromEntries(flat(JSON.parse(identity), '', 4))
  } catch {
    return {}
  }
}
