/**
 * Class names of a text recognizer: the character of every class, and '' for the blank of `ctc`. A character is a code
 * point.
 */

import { OnnxIreError } from '../util/errors.js'

/** The class names for texts: the blank, and the characters of the texts, sorted. */
export const alphabetOf = (texts: readonly string[], blank = 0): string[] =>
  addBlank([...new Set(texts.flatMap((text) => [...text]))].sort(), { blank })

/**
 * The class names for a list of characters, as dictionaries of PaddleOCR have them: the classes in order without the
 * blank, and without the space if the model has one class more.
 * @param classes number of classes of the model, if it is known
 */
export function addBlank(
  characters: readonly string[],
  { blank = 0, classes }: { readonly blank?: number | undefined; readonly classes?: number | undefined } = {},
): string[] {
  const all = classes === characters.length + 2 ? [...characters, ' '] : characters
  return all.toSpliced(blank, 0, '')
}

/** Parses a list of characters, one per line. */
export const parseCharacters = (text: string): string[] => text.replace(/\r?\n$/, '').split(/\r?\n/)

/**
 * Converts a text to classes; null for a character that has none. Of classes with the same character the last one
 * counts, as in PaddleOCR.
 */
export function createEncoder(names: readonly string[]): (text: string) => (number | null)[] {
  const classes = new Map(names.map((name, i) => [name, i]))
  return (text) => Array.from(text, (character) => classes.get(character) ?? null)
}

/** Number of steps that `ctc` needs for labels: one for each, and a blank between equal ones. */
export const stepsOf = (labels: ArrayLike<number>): number => {
  let steps = labels.length
  for (let i = 1; i < labels.length; i++) if (labels[i] === labels[i - 1]) steps++
  return steps
}

/** A text that is no sequence of known characters. */
interface UnknownText {
  readonly place: string
  readonly text: string
}

/** Largest number of characters that a message lists. */
const maxListed = 10

/** The error about texts with characters that have no class. */
export function unknownCharacters(
  texts: readonly UnknownText[],
  total: number,
  names: readonly string[],
  origin: string,
  advice: string,
): OnnxIreError {
  const known = new Set(names)
  const unknown = [...new Set(texts.flatMap(({ text }) => [...text]))].filter((character) => !known.has(character))
  const listed = unknown.slice(0, maxListed).map((character) => JSON.stringify(character))
  const more = unknown.length > maxListed ? ` and ${unknown.length - maxListed} more` : ''
  const [{ place, text }] = texts as [UnknownText]
  return new OnnxIreError(
    'invalid-data',
    `${texts.length} of ${total} texts have characters that ${origin} lacks: ${listed.join(', ')}${more} (first: ${place}, ${JSON.stringify(text)}). Correct or remove these texts, or ${advice}`,
  )
}
