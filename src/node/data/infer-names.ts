import type { LossTarget } from '../../loss/registry.js'
import { listInputs } from '../../onnx/import/declarations.js'
import type { Naming } from '../../recipe/sources/common.js'
import { OnnxIreError } from '../../util/errors.js'
import type { OpenContext } from './data-source.js'

/** The model's input that takes a source's examples. Throws `invalid-recipe` where it has to be named. */
export function inferInput({ input }: Naming, { model }: OpenContext): string {
  if (input !== undefined) return input
  const names = listInputs(model.proto).map(({ name = '' }) => name)
  if (names.length === 1) return names[0]!
  throw new OnnxIreError(
    'invalid-recipe',
    `the model has ${names.length} inputs${names.length > 0 ? ` (${names.join(', ')})` : ''}; name the one that takes the examples: "input": "..."`,
  )
}

/** What a source's labels are for; null where none are asked for. Throws `invalid-recipe` where it has to be named. */
export function inferTarget({ target }: Naming, { targets }: OpenContext): LossTarget | null {
  if (targets === null) return null
  const names = [...new Set(targets.map(({ name }) => name))]
  const found = targets.find(({ name }) => name === (target ?? names[0]))
  if (found && (target !== undefined || names.length === 1)) return found
  const there = names.join(', ')
  throw new OnnxIreError(
    'invalid-recipe',
    target === undefined
      ? `the loss looks for ${there}; name the one that the labels are for: "target": "..."`
      : `target is '${target}', but the loss looks for ${there}`,
  )
}
