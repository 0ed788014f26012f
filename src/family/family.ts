import type { Calculus, ControlRules, Expansions, Rules } from '../grad/rule.js'
import type { Operators } from '../onnx/operators.js'
import type { Definition } from '../op/define.js'

/** Operators that are defined, differentiated and upgraded together: the unit that is loaded. */
interface Parts<D, R, E, C> {
  readonly definitions: D
  readonly rules?: R
  /** Composite operators in terms of simpler ones, as the function bodies on their ONNX pages. */
  readonly expansions?: E
  readonly control?: C
  readonly upgrades?: Operators['upgrades']
  readonly forms?: Operators['forms']
  readonly sequenceForms?: Operators['sequenceForms']
  readonly gradientOperator?: Operators['gradientOperator']
}

/** Operators whose definition neither carries a reason for having no gradient nor has a rule or an expansion. */
type Uncovered<D, Covered> = {
  [K in keyof D]: D[K] extends { readonly gradient: undefined } ? (K extends keyof Covered ? never : K) : never
}[keyof D]

/** Tables of a family as one; it does not compile while an operator has no gradient and no reason, and the error names it. */
export function family<
  D,
  const R extends Rules<D> = Record<never, never>,
  const E extends Expansions<D> = Record<never, never>,
  const C extends ControlRules<D> = Record<never, never>,
>(
  parts: Parts<D, R, E, C> &
    ([Uncovered<D, R & E & C>] extends [never] ? unknown : { readonly withoutGradient: Uncovered<D, R & E & C> }),
): Operators {
  const { definitions, rules = {}, expansions = {}, control = {} } = parts
  const { upgrades = {}, forms = {}, sequenceForms = {}, gradientOperator } = parts
  return {
    // The types of the single operators are forgotten from here on.
    definitions: definitions as Readonly<Record<string, Definition>>,
    calculus: { rules, expansions, control } as unknown as Calculus,
    upgrades,
    forms,
    sequenceForms,
    gradientOperator,
  }
}

/** What is known of the operators of all of them. */
export function joined(families: readonly Operators[]): Operators {
  const merged = <T>(table: (of: Operators) => Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
    Object.assign({}, ...families.map(table))
  const domains = new Set(families.flatMap(({ forms }) => Object.keys(forms)))
  return {
    definitions: merged((of) => of.definitions),
    calculus: {
      rules: merged((of) => of.calculus.rules),
      expansions: merged((of) => of.calculus.expansions),
      control: merged((of) => of.calculus.control),
    },
    upgrades: merged((of) => of.upgrades),
    forms: Object.fromEntries([...domains].map((domain) => [domain, merged((of) => of.forms[domain] ?? {})])),
    sequenceForms: merged((of) => of.sequenceForms),
    gradientOperator: families.find((of) => of.gradientOperator)?.gradientOperator,
  }
}
