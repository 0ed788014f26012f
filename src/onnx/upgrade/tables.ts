import { activationUpgrades } from './activation.js'
import { controlUpgrades } from './control.js'
import { elementwiseUpgrades } from './elementwise.js'
import { generationUpgrades } from './generation.js'
import { indexingUpgrades } from './indexing.js'
import { linalgUpgrades } from './linalg.js'
import { activationForms } from './microsoft/activation.js'
import { attentionForms } from './microsoft/attention.js'
import { groupedQueryForms } from './microsoft/grouped-query.js'
import { linalgForms } from './microsoft/linalg.js'
import { normalizationForms, simplifiedLayerNormalization } from './microsoft/normalization.js'
import { rotaryForms } from './microsoft/rotary.js'
import { movementUpgrades } from './movement.js'
import { normalizationUpgrades } from './normalization.js'
import { recurrentUpgrades } from './recurrent.js'
import { reductionUpgrades } from './reduction.js'
import { resizeUpgrades } from './resize.js'
import { samplingUpgrades } from './sampling.js'
import { sequenceForms } from './sequence.js'
import { signalUpgrades } from './signal.js'
import { slicingUpgrades } from './slicing.js'
import { softmaxUpgrades } from './softmax.js'
import { training } from './training.js'
import { sameForm, type Upgrade, type Upgrades } from './upgrade.js'

/** Changes of each ai.onnx operator, by operator name and the operator-set version that introduced them. */
export const upgrades: Upgrades = {
  ...activationUpgrades,
  ...controlUpgrades,
  ...elementwiseUpgrades,
  ...generationUpgrades,
  ...indexingUpgrades,
  ...linalgUpgrades,
  ...movementUpgrades,
  ...normalizationUpgrades,
  ...recurrentUpgrades,
  ...reductionUpgrades,
  ...resizeUpgrades,
  ...samplingUpgrades,
  ...signalUpgrades,
  ...slicingUpgrades,
  ...softmaxUpgrades,
}

/** Operators that importing rewrites in other operators at any version, by domain and operator name. */
export const forms: Readonly<Record<string, Readonly<Record<string, Upgrade>>>> = {
  // onnxruntime has added this operator to ai.onnx itself.
  '': { SimplifiedLayerNormalization: simplifiedLayerNormalization },
  'com.microsoft': {
    Trilu: sameForm,
    GatherND: sameForm,
    QuantizeLinear: sameForm,
    DequantizeLinear: sameForm,
    ...activationForms,
    ...attentionForms,
    ...groupedQueryForms,
    ...linalgForms,
    ...normalizationForms,
    ...rotaryForms,
  },
  'ai.onnx.preview.training': training,
}

export { sequenceForms }
