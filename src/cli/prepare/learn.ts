import { setImmediate } from 'node:timers/promises'
import { tokenizerJson } from '../../data/tokenize/tokenizer-json.js'
import { BpeTrainer } from '../../data/tokenize/train-bpe.js'
import { WordCounts } from '../../data/tokenize/words.js'
import { OnnxIreError } from '../../util/errors.js'
import type { Monitor } from './monitor.js'

/** Milliseconds of work between two looks at the outside world. */
const slice = 50

/** The content of a tokenizer.json learnt from texts. */
export async function learnTokenizer(
  texts: AsyncIterable<string>,
  vocabulary: number,
  monitor: Monitor,
): Promise<string> {
  const words = new WordCounts()
  for await (const text of texts) words.add(text)
  if (words.size === 0) throw new OnnxIreError('invalid-data', 'the inputs hold no text')
  const trainer = new BpeTrainer(words, { vocabulary })
  const first = trainer.size
  monitor.stage('learning the vocabulary', vocabulary - first)
  let rest = performance.now() + slice
  while (trainer.merge()) {
    if (performance.now() < rest) continue
    monitor.at(trainer.size - first)
    await setImmediate()
    rest = performance.now() + slice
  }
  if (trainer.size < vocabulary)
    monitor.note(`the text gives a vocabulary of ${trainer.size} only: no other pair of tokens occurs twice`)
  return `${JSON.stringify(tokenizerJson(trainer.vocabulary()), null, 1)}\n`
}
