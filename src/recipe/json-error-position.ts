const space = /[ \t\n\r]*/y
const scalar = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings must not contain control characters.
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y

/** Offset of the first character at which a text is not valid JSON (RFC 8259). */
export function jsonErrorPosition(text: string): number {
  let at = 0
  const skip = (token: RegExp): boolean => {
    token.lastIndex = at
    const matched = token.test(text)
    if (matched) at = token.lastIndex
    return matched
  }
  /** Consumes one character and the white space around it, if it is next. */
  const consume = (character: string): boolean => {
    skip(space)
    if (text[at] !== character) return false
    at++
    skip(space)
    return true
  }
  const list = (end: string, item: () => boolean): boolean => {
    if (consume(end)) return true
    while (item()) {
      if (consume(end)) return true
      if (!consume(',')) return false
    }
    return false
  }
  const member = (): boolean => skip(string) && consume(':') && value()
  const value = (): boolean => {
    if (consume('{')) return list('}', member)
    if (consume('[')) return list(']', value)
    return skip(string) || skip(scalar)
  }
  if (value()) skip(space)
  return at
}
