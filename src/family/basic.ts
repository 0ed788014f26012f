import { activationExpansions, activationRules } from '../grad/rules/activation.js'
import { elementwiseRules } from '../grad/rules/elementwise.js'
import { generationRules } from '../grad/rules/generation.js'
import { indexingRules } from '../grad/rules/indexing.js'
import { linalgRules } from '../grad/rules/linalg.js'
import { movementRules } from '../grad/rules/movement.js'
import { reductionRules } from '../grad/rules/reduction.js'
import { slicingRules } from '../grad/rules/slicing.js'
import { softmaxExpansions, softmaxRules } from '../grad/rules/softmax.js'
import { activationUpgrades } from '../onnx/upgrade/activation.js'
import { elementwiseUpgrades } from '../onnx/upgrade/elementwise.js'
import { generationUpgrades } from '../onnx/upgrade/generation.js'
import { indexingUpgrades } from '../onnx/upgrade/indexing.js'
import { linalgUpgrades } from '../onnx/upgrade/linalg.js'
import { movementUpgrades } from '../onnx/upgrade/movement.js'
import { reductionUpgrades } from '../onnx/upgrade/reduction.js'
import { slicingUpgrades } from '../onnx/upgrade/slicing.js'
import { softmaxUpgrades } from '../onnx/upgrade/softmax.js'
import { sameForm } from '../onnx/upgrade/upgrade.js'
import { basic } from '../op/basic.js'
import { family } from './family.js'

/** What is always there, for gradients are written in it. */
export default family({
  definitions: basic,
  rules: {
    ...indexingRules,
    ...movementRules,
    ...slicingRules,
    ...generationRules,
    ...reductionRules,
    ...activationRules,
    ...elementwiseRules,
    ...linalgRules,
    ...softmaxRules,
  },
  expansions: { ...activationExpansions, ...softmaxExpansions },
  upgrades: {
    ...indexingUpgrades,
    ...movementUpgrades,
    ...slicingUpgrades,
    ...generationUpgrades,
    ...reductionUpgrades,
    ...activationUpgrades,
    ...elementwiseUpgrades,
    ...linalgUpgrades,
    ...softmaxUpgrades,
  },
  forms: { 'com.microsoft': { Trilu: sameForm, GatherND: sameForm } },
})
