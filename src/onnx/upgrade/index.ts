import { activationUpgrades } from './activation.js'
import { controlUpgrades } from './control.js'
import { elementwiseUpgrades } from './elementwise.js'
import { generationUpgrades } from './generation.js'
import { indexingUpgrades } from './indexing.js'
import { linalgUpgrades } from './linalg.js'
import { movementUpgrades } from './movement.js'
import { normalizationUpgrades } from './normalization.js'
import { recurrentUpgrades } from './recurrent.js'
import { reductionUpgrades } from './reduction.js'
import { resizeUpgrades } from './resize.js'
import { samplingUpgrades } from './sampling.js'
import { signalUpgrades } from './signal.js'
import { slicingUpgrades } from './slicing.js'
import { softmaxUpgrades } from './softmax.js'
import type { Upgrades } from './upgrade.js'

/** Every change of an operator's form that importing undoes. */
export const upgrades: Upgrades = {
  ...indexingUpgrades,
  ...movementUpgrades,
  ...slicingUpgrades,
  ...generationUpgrades,
  ...reductionUpgrades,
  ...activationUpgrades,
  ...elementwiseUpgrades,
  ...controlUpgrades,
  ...linalgUpgrades,
  ...normalizationUpgrades,
  ...softmaxUpgrades,
  ...recurrentUpgrades,
  ...resizeUpgrades,
  ...samplingUpgrades,
  ...signalUpgrades,
}
