import type { Calculus } from '../grad/rule.js'
import type { Definition } from '../op/define.js'
import type { gradientOperator } from './gradient-operator.js'
import type { Upgrade, Upgrades } from './upgrade/upgrade.js'

/** What is known of some operators: all that reading a model and differentiating it goes by. */
export interface Operators {
  /** By operator name: what they are, in the form of the newest operator set that is written. */
  readonly definitions: Readonly<Record<string, Definition>>
  /** Their derivatives. */
  readonly calculus: Calculus
  /** Their older forms, and operators of old that others have replaced. */
  readonly upgrades: Upgrades
  /** By domain, then by operator: those that are written in other operators, whatever the version. */
  readonly forms: Readonly<Record<string, Readonly<Record<string, Upgrade>>>>
  /** Operators that take or give sequences, or may: written in others while importing follows what is in the sequences. */
  readonly sequenceForms: Readonly<Record<string, Upgrade>>
  /** How the Gradient operator of ai.onnx.preview.training is written in others, where it is known. */
  readonly gradientOperator?: typeof gradientOperator | undefined
}
