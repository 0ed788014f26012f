import { readTokens } from '../../node/data/tokens.js'
import type { TokensSource } from '../../recipe/sources/tokens.js'
import { inputFor, targetFor } from './naming.js'
import type { Opened, Opening } from './opened.js'

export async function openTokens(source: TokensSource, opening: Opening): Promise<Opened> {
  const { file, context, stride } = source
  const input = inputFor(source, opening)
  const target = targetFor(source, opening)?.name ?? null
  return { data: await readTokens(file, { context, stride, input, target }) }
}
