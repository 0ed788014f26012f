import { OnnxIreError } from '../../errors.js'
import type { Upgrades } from './upgrade.js'

export const controlUpgrades: Upgrades = {
  Scan: {
    9: () => {
      throw new OnnxIreError(
        'unsupported-operator',
        'Scan of operator set 8 (over a batch of sequences) left ONNX with the next one; export the model with operator set 9 or later',
      )
    },
  },
}
