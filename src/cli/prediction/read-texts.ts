import type { ScoreKind } from '../../analysis/snippet/score-kind.js'
import type { Tensor } from '../../ir/tensor.js'
import { labelSteps } from '../../metric/sequences.js'
import { OnnxIreError } from '../../util/errors.js'
import { mean } from '../../util/statistics.js'
import { topClasses } from './top-classes.js'

/** Label of a step without a class, because its probability is NaN. */
const unreadable = -1

/** Text that is read from the steps of `ctc`. */
export interface ReadText {
  readonly text: string
  /** Mean of the probabilities of its characters, each in its first step; null for a text without characters. */
  readonly probability: number | null
}

/**
 * Reads the text of every example from scores [N, T, C] greedily, as `decodeGreedily` does. Throws `invalid-data` for
 * scores of another shape, and `invalid-option` without a name for every class.
 */
export function readTexts(
  name: string,
  scores: Tensor,
  {
    kind,
    blank,
    classNames,
  }: { readonly kind: ScoreKind; readonly blank: number; readonly classNames: readonly string[] | undefined },
): ReadText[] {
  const [examples = 0, steps = 0, classes, ...others] = scores.dims
  if (classes === undefined || others.length > 0)
    throw new OnnxIreError(
      'invalid-data',
      `the output '${name}' is [${scores.dims.join(', ')}]; texts are read from scores [examples, steps, classes]`,
    )
  if (classNames?.length !== classes)
    throw new OnnxIreError(
      'invalid-option',
      `the output '${name}' has ${classes} classes, and there are ${classNames ? `${classNames.length} names` : 'no names'}: give the characters of the classes with --class-names, '' for the blank, or omit --classes`,
    )
  const top = topClasses(name, scores, kind, -1)
  return Array.from({ length: examples }, (_, i) => {
    const path = top.slice(i * steps, (i + 1) * steps)
    const labels = path.map((each) => each.class ?? unreadable)
    const read = labelSteps(labels, blank).map((t) => path[t]!)
    const text = read.map((each) => (each.class === null ? '\ufffd' : classNames[each.class]!)).join('')
    return { text, probability: read.length === 0 ? null : mean(read.map(({ probability }) => probability)) }
  })
}
