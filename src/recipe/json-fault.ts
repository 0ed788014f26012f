const space = /[ \t\n\r]*/y
const scalar = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings may hold none of them.
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y

/** Where a text stops being JSON (RFC 8259): the offset of the first character that cannot stand there. */
export function jsonFault(text: string): number {
  let at = 0
  const skip = (token: RegExp): boolean => {
    token.lastIndex = at
    const matched = token.test(text)
    if (matched) at = token.lastIndex
    return matched
  }
  /** Steps over one character and the space around it. */
  const takes = (character: string): boolean => {
    skip(space)
    if (text[at] !== character) return false
    at++
    skip(space)
    return true
  }
  const list = (end: string, item: () => boolean): boolean => {
    if (takes(end)) return true
    while (item()) {
      if (takes(end)) return true
      if (!takes(',')) return false
    }
    return false
  }
  const member = (): boolean => skip(string) && takes(':') && value()
  const value = (): boolean => {
    if (takes('{')) return list('}', member)
    if (takes('[')) return list(']', value)
    return skip(string) || skip(scalar)
  }
  if (value()) skip(space)
  return at
}
