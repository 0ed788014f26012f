import { adam, adamw } from '../../../src/optim/adam.js'
import { type IreOptions, ire } from '../../../src/optim/ire/ire.js'
import type { Optimizer } from '../../../src/optim/optimizer.js'
import { type SamOptions, sam } from '../../../src/optim/sam.js'
import { sgd } from '../../../src/optim/sgd.js'

/** An optimizer as JSON. */
export interface OptimizerSpec {
  readonly base: 'sgd' | 'adam' | 'adamw'
  readonly options?: object
  readonly sam?: SamOptions
  readonly ire?: IreOptions
}

export function optimizerOf({ base, options, sam: samOptions, ire: ireOptions }: OptimizerSpec): Optimizer {
  const made = { sgd, adam, adamw }[base](options)
  const inner = samOptions ? sam(made, samOptions) : made
  return ireOptions ? ire(inner, ireOptions) : inner
}
