import type { Experiment } from '../experiment.js'
import { compareAll, recipe, spreads } from '../transformer/compare.js'
import { grammarText } from './grammar.js'

/** The subject of `transformer` at the size of a test. */
export const grammar: Experiment = {
  name: 'grammar',
  about: 'AdamW and AdmIRE on sentences of a small grammar, with a very small Llama',
  duration: { small: '2 minutes', full: '4 minutes' },
  seeds: { small: 5, full: 10 },
  run(lab) {
    const text = grammarText()
    return compareAll(
      lab,
      [
        {
          name: 'grammar',
          model: {
            kind: 'llama',
            vocabulary: text.vocabulary,
            context: 32,
            width: 32,
            heads: 2,
            layers: 2,
            hidden: 64,
          },
          text,
          data: { corpus: 'grammar', vocabulary: text.vocabulary },
          steps: 150,
          batchSize: 8,
          rates: [8e-3, 16e-3, 32e-3],
          ratesTwice: [8e-3, 16e-3],
          thorough: true,
        },
      ],
      `Sentences of the form "the old river carries the quiet bird slowly." in a byte-level BPE of ${text.vocabulary} tokens; a Llama of two layers, width 32, context 32, batch 8. ${recipe(150)}, ${spreads(lab)} The learnable part is learned early; the rest of the loss is due to chance.`,
    )
  },
}
