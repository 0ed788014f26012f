import type { LossTarget } from '../../loss/registry.js'
import { listInputs } from '../../onnx/import/declarations.js'
import type { SourceNames } from '../../recipe/sources/common.js'
import { OnnxIreError } from '../../util/errors.js'
import type { OpenContext } from './data-source.js'

/**
 * The model input that the examples of a source go to: `input` of the source, or the only input. Throws
 * `invalid-recipe`.
 */
export function inferInput({ input }: SourceNames, { model }: OpenContext): string {
  if (input !== undefined) return input
  const names = listInputs(model.proto).map(({ name = '' }) => name)
  if (names.length === 1) return names[0]!
  throw new OnnxIreError(
    'invalid-recipe',
    `the model has ${names.length} inputs${names.length > 0 ? ` (${names.join(', ')})` : ''}; name the input for the examples: "input": "..."`,
  )
}

/**
 * The target of the loss that the labels of a source belong to: `target` of the source, or the only target; null if no
 * labels are needed. Throws `invalid-recipe`.
 */
export function inferTarget({ target }: SourceNames, { targets }: OpenContext): LossTarget | null {
  if (targets === null) return null
  const names = [...new Set(targets.map(({ name }) => name))]
  const found = targets.find(({ name }) => name === (target ?? names[0]))
  if (found && (target !== undefined || names.length === 1)) return found
  const available = names.join(', ')
  throw new OnnxIreError(
    'invalid-recipe',
    target === undefined
      ? `the loss compares ${available}; name the target of the labels: "target": "..."`
      : `target is '${target}', but the loss compares ${available}`,
  )
}
