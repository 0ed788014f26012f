import { OnnxIreError } from '../util/errors.js'
import type { OperatorSetIdProto } from './proto/schema.js'

/** The newest operator set whose operators this library has read. */
const newestOperatorSet = 26

/** The versions a model, or a function of it, says its operators have, by domain. */
export function operatorSets(imports: readonly OperatorSetIdProto[]): ReadonlyMap<string, number> {
  const versions = new Map([
    // Files before IR version 3 name no operator set: version 1.
    ...(imports.length === 0 ? [['', 1] as const] : []),
    ...imports.map(
      ({ domain, version }) => [domain === 'ai.onnx' ? '' : (domain ?? ''), Number(version ?? 1n)] as const,
    ),
  ])
  const version = versions.get('') ?? 1
  if (version < 1 || version > newestOperatorSet)
    throw new OnnxIreError(
      'invalid-model',
      `the model uses operator set ${version}; 1 to ${newestOperatorSet} are known: export it with one of those`,
    )
  return versions
}
