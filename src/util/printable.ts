/**
 * Control characters except line ends, and characters that change the direction of text or end a line: ESC, C1,
 * overrides of the bidirectional algorithm. With them a name from a file could move the cursor of a
 * terminal or hide text.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to replace
const controls = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** Replaces control characters by escapes such as `\u001b`, which are valid in JSON strings too. Line ends remain. */
export const escapeControls = (text: string): string =>
  text.replace(controls, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** Largest number of characters of a quoted name in a message. */
const maxName = 100
/** Largest number of characters without a space, which may be a path. */
const maxWord = 512
/** Largest number of elements of a list in brackets, and of lines. */
const maxListed = 16
/** Largest number of items between commas outside of brackets: the longest lists of options have fewer. */
const maxItems = 40
/** Largest number of characters of a message. */
const maxMessage = 2000

/** A name from a file on one line: control characters and line ends escaped, and at most 100 characters. */
export const limitName = (name: string): string =>
  escapeControls(name.length <= maxName ? name : `${name.slice(0, maxName)}...`).replaceAll('\n', '\\n')

const shortenMiddle = (text: string, limit: number, end: number): string =>
  text.length <= limit
    ? text
    : `${text.slice(0, limit - end)} ... (${text.length} characters) ... ${text.slice(text.length - end)}`

const quoted = new RegExp(`(?<!\\w)'([^'\\n]{${maxName}})[^'\\n]+'(?!\\w)`, 'g')
const word = new RegExp(`\\S{${maxWord + 1},}`, 'g')

function shortenList(list: string): string {
  const items = list.split(',')
  return items.length <= maxListed ? list : `${items.slice(0, maxListed).join(',')}, ... (${items.length} in all)`
}

/** Keeps the first items and the last one, which may continue with other text. */
function shortenItems(items: readonly string[], limit: number, shown: number, separator: string): string {
  const hidden = items.length - shown - 1
  const kept = [...items.slice(0, shown), `... (${hidden} more)`, items.at(-1)]
  return (items.length <= limit ? items : kept).join(separator)
}

/**
 * Shortens a message that names contents of a file: names in quotes to 100 characters, lists in brackets to 16
 * elements, and the whole message to about 2000 characters. Control characters are escaped.
 */
export function limitMessage(message: string): string {
  const short = shortenMiddle(message, 2 ** 16, 2 ** 12)
    .replace(quoted, "'$1...'")
    .replace(/(?<=\[)[^[\]]*(?=\])|(?<=\()[^()[\]]*(?=\))/g, shortenList)
    .split('\n')
    .map((line) => shortenItems(line.split(', '), maxItems, maxListed, ', '))
  const text = shortenItems(short, maxListed + 1, maxListed, '\n').replace(word, (long) =>
    shortenMiddle(long, maxWord, maxWord / 4),
  )
  return escapeControls(shortenMiddle(text, maxMessage, maxMessage / 4))
}
