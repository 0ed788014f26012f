import { convertTensor } from '../../src/lowering/convert.js'
import type { Target } from '../../src/lowering/lowering.js'
import { type Form, lowerForm, readOperatorSet, toProbe } from './form.js'
import { agrees, outcomes } from './outcome.js'
import type { Prober, RuntimeName, Trial } from './runtimes.js'

/** Outcome of all forms of a type, or the forms by outcome; `others` are the forms that run. */
export type Result = string | Readonly<Record<string, typeof others | readonly string[]>>

export const others = 'the others'

/** Results of one operator in one runtime. */
export interface Kernel {
  /** Outcomes by element type. */
  readonly types: Readonly<Record<string, Result>>
  /** Outcomes after lowering, where they differ. */
  readonly lowered?: Readonly<Record<string, Result>>
  /** The last operator set with the same outcome for the first form, if not the newest. */
  readonly until?: number
}

/** Content of kernels.json. */
export interface Kernels {
  /** Versions of packages and the device, by runtime. */
  readonly measured: Partial<Record<RuntimeName, string>>
  readonly operators: Readonly<Record<string, Partial<Record<Place, Kernel>>>>
}

/** Place where an operator is computed: a runtime, or compute shaders of this library. */
export type Place = RuntimeName | 'shaders'

const newest = 26

/**
 * Runs all forms of an operator in a runtime. Results are compared with `reference`, the CPU; lowerings for `target`
 * are tried, too.
 */
export async function surveyKernel(
  forms: readonly Form[],
  prober: Prober,
  reference?: Prober,
  target?: Target,
): Promise<Kernel> {
  const types: Record<string, Result> = {}
  const asRun: Record<string, Result> = {}
  let until: number | undefined
  for (const dtype of new Set(forms.map((form) => form.dtype))) {
    const byOutcome = new Map<string, string[]>()
    const byLowered = new Map<string, string[]>()
    for (const form of forms.filter((form) => form.dtype === dtype)) {
      const outcome = await outcomeIn(form, prober, reference)
      byOutcome.set(outcome, [...(byOutcome.get(outcome) ?? []), form.name])
      const instead = target && lowerForm(form, target)
      const lowered = instead && instead !== form ? await loweredOutcome(instead, form, prober, reference!) : outcome
      // A form that runs unchanged may still be lowered, for example its indices.
      const tried = lowered === outcomes.lowered && outcome === outcomes.runs ? outcome : lowered
      byLowered.set(tried, [...(byLowered.get(tried) ?? []), form.name])
      if (until === undefined && outcome === outcomes.runs) until = await lastSet(form, prober)
    }
    types[dtype] = resultOf(byOutcome)
    asRun[dtype] = resultOf(byLowered)
  }
  return {
    types,
    ...(JSON.stringify(asRun) === JSON.stringify(types) ? {} : { lowered: asRun }),
    ...(until === undefined || until === newest ? {} : { until }),
  }
}

async function outcomeIn(form: Form, prober: Prober, reference: Prober | undefined): Promise<string> {
  const probe = toProbe(form)
  const { outcome, outputs } = await prober(probe)
  if (!reference || (outcome !== outcomes.runs && outcome !== outcomes.fallsBack)) return outcome
  const expected: Trial = await reference(probe)
  return expected.outcome === outcomes.runs && !agrees(outputs, expected.outputs, form.open) ? outcomes.wrong : outcome
}

async function loweredOutcome(lowered: Form, form: Form, prober: Prober, reference: Prober): Promise<string> {
  const { outcome, outputs } = await prober(toProbe(lowered))
  if (outcome !== outcomes.runs) return outcome
  const expected = (await reference(toProbe(form))).outputs.map((tensor, i) =>
    convertTensor('', tensor, outputs[i]!.dtype),
  )
  return agrees(outputs, expected, form.open) ? outcomes.lowered : outcomes.wrong
}

/** The last operator set in which a form runs. */
async function lastSet(form: Form, prober: Prober): Promise<number> {
  for (let set = newest; set > readOperatorSet(form); set--)
    if ((await prober(toProbe(form, set))).outcome === outcomes.runs) return set
  return readOperatorSet(form)
}

/** The outcome of all forms, or their names by outcome. */
export function resultOf(byOutcome: ReadonlyMap<string, readonly string[]>): Result {
  const [first] = byOutcome.keys()
  if (byOutcome.size === 1) return first!
  return Object.fromEntries(
    [...byOutcome].map(([outcome, names]) => [outcome, outcome === outcomes.runs ? others : names]),
  )
}
