import { checkNames } from '../util/check.js'
import { type Example, stacked } from './collate.js'
import { checkIndices, type Dataset } from './dataset.js'
import { checkPad, type PadOptions } from './pad.js'

/**
 * A data set over a list of examples in memory, for those that come one by one or differ in length.
 *
 * ```ts
 * datasetOf(rows.map(({ tokens, label }) => ({ input_ids: BigInt64Array.from(tokens), label: BigInt(label) })), {
 *   padding: { input_ids: { mask: 'attention_mask' } },
 * })
 * ```
 * @throws 'invalid-option'; when a batch is made, 'invalid-data' naming the example unlike the others
 */
export function datasetOf(
  examples: readonly Example[],
  options: { readonly padding?: Readonly<Record<string, PadOptions>> | undefined } = {},
): Dataset {
  checkNames('datasetOf', options, ['padding'])
  for (const [name, pad] of Object.entries(options.padding ?? {})) checkPad(`datasetOf: padding of '${name}'`, pad)
  return {
    length: examples.length,
    batch(indices) {
      checkIndices(indices, examples.length)
      return stacked(
        Array.from(indices, (index) => examples[index]!),
        indices,
        options.padding,
      )
    },
  }
}
