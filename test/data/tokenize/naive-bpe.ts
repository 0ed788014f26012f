/** Byte pair encoding by its definition, with all pairs counted again for each merge. Tests split words by hand. */
export function naiveBpe(
  words: readonly (readonly [string, number])[],
  specials: readonly string[],
  vocabulary: number,
) {
  const character = (byte: number) => {
    const printable = [
      ...'!"#$%&\'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~',
    ]
    const latin = '¡¢£¤¥¦§¨©ª«¬®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ'
    const own = new Set([...printable, ...latin].map((each) => each.charCodeAt(0)))
    if (own.has(byte)) return String.fromCharCode(byte)
    const others = Array.from({ length: 256 }, (_, each) => each).filter((each) => !own.has(each))
    return String.fromCharCode(256 + others.indexOf(byte))
  }
  const bytes = Array.from({ length: 256 }, (_, byte) => character(byte)).toSorted()
  const tokens = [...specials, ...bytes]
  const merges: [string, string][] = []
  let split = words.map(([word, count]) => ({ count, symbols: [...new TextEncoder().encode(word)].map(character) }))
  while (tokens.length < vocabulary) {
    const counts = new Map<string, number>()
    for (const { count, symbols } of split)
      for (let i = 1; i < symbols.length; i++) {
        const pair = `${symbols[i - 1]} ${symbols[i]}`
        counts.set(pair, (counts.get(pair) ?? 0) + count)
      }
    const order = [...counts].map(([pair, count]) => {
      const [left = '', right = ''] = pair.split(' ')
      return { left, right, count }
    })
    const at = (token: string) => tokens.indexOf(token)
    order.sort((a, b) => b.count - a.count || at(a.left) - at(b.left) || at(a.right) - at(b.right))
    const [best] = order
    if (!best || best.count < 2) break
    const made = best.left + best.right
    if (!tokens.includes(made)) tokens.push(made)
    if (!merges.some(([left, right]) => left === best.left && right === best.right))
      merges.push([best.left, best.right])
    split = split.map(({ count, symbols }) => {
      const joined: string[] = []
      for (let i = 0; i < symbols.length; i++)
        if (symbols[i] === best.left && symbols[i + 1] === best.right) {
          joined.push(made)
          i++
        } else joined.push(symbols[i]!)
      return { count, symbols: joined }
    })
  }
  return { tokens, merges }
}
