import { readFile, stat, writeFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { batches } from '../../../src/data/batches.js'
import { readTokens, type TokenWindowOptions, writeTokens } from '../../../src/node/data/tokens.js'
import { Random } from '../../../src/util/random.js'
import { rejectedMessage } from '../../thrown.js'
import { temporaryFolder } from './folder.js'

const { path } = temporaryFolder()

const tokensOf = (n: number, vocabulary: number) => {
  const random = new Random(n)
  return Uint32Array.from({ length: n }, () => random.integer(vocabulary))
}
async function written(name: string, tokens: Uint32Array, vocabulary: number) {
  await writeTokens(path(name), [tokens.subarray(0, 3), [], tokens.subarray(3)], { vocabulary, tokens: tokens.length })
  return path(name)
}

describe('token files', () => {
  it.each([
    [300, 2],
    [65_536, 2],
    [65_537, 4],
    [200_000, 4],
  ])('a vocabulary of %i > is stored in %i bytes per token', async (vocabulary, width) => {
    const tokens = tokensOf(101, vocabulary)
    tokens[7] = vocabulary - 1
    const file = await written(`${vocabulary}.tokens`, tokens, vocabulary)
    const bytes = await readFile(file)
    expect(bytes.length).toBe(32 + 101 * width)
    expect(width === 2 ? bytes.readUInt16LE(32 + 14) : bytes.readUInt32LE(32 + 28)).toBe(vocabulary - 1)
    const data = await readTokens(file, { context: 100 })
    expect(data).toMatchObject({ vocabulary, tokens: 101, length: 1 })
    const { tokens: x, labels: y } = await data.batch([0])
    expect(x).toEqual({ dtype: 'int64', dims: [1, 100], data: BigInt64Array.from(tokens.subarray(0, 100), BigInt) })
    expect(y).toEqual({ dtype: 'int64', dims: [1, 100], data: BigInt64Array.from(tokens.subarray(1), BigInt) })
  })

  it('windows > are returned repeatedly, in any order', async () => {
    const tokens = tokensOf(1000, 500)
    const file = await written('windows.tokens', tokens, 500)
    for (const [context, stride] of [
      [7, 7],
      [7, 3],
      [5, 11],
      [999, 1],
    ] as const) {
      const data = await readTokens(file, { context, stride, input: 'x', target: 'y' })
      let count = 0
      while (count * stride + context + 1 <= 1000) count++
      expect(data.length).toBe(count)
      const indices = [count - 1, 0, count >> 1, 0]
      const { x, y } = await data.batch(indices)
      const rows = (shift: number) =>
        indices.flatMap((i) => [...tokens.subarray(i * stride + shift, i * stride + shift + context)].map(BigInt))
      expect([...x!.data]).toEqual(rows(0))
      expect([...y!.data]).toEqual(rows(1))
    }
    const alone = await readTokens(file, { context: 10, target: null })
    expect(alone.length).toBe(100) // the last window needs no token after it
    expect(Object.keys(await alone.batch([99]))).toEqual(['tokens'])
  })

  it('training order > depends on the seed', async () => {
    const data = await readTokens(await written('order.tokens', tokensOf(500, 300), 300), { context: 10 })
    const epoch = async (seed: number) => {
      const seen: unknown[] = []
      for await (const { tensors } of batches(data, { batchSize: 8, shuffle: new Random(seed) }))
        seen.push(tensors['tokens'])
      return seen
    }
    expect(await epoch(1)).toEqual(await epoch(1))
    expect(await epoch(1)).not.toEqual(await epoch(2))
  })

  it('files larger than the read buffer > are read', async () => {
    const file = await written('hole.tokens', tokensOf(2000, 300), 300)
    const data = await readTokens(file, { context: 10 })
    const bytes = await readFile(file)
    bytes.fill(0xff, 32 + 2 * 500, 32 + 2 * 600) // outside the vocabulary: detected only by batches that contain it
    await writeFile(file, bytes)
    await data.batch([0, 48])
    expect(await rejectedMessage('invalid-data', async () => data.batch([0, 55]))).toMatch(
      `hole.tokens: the token at offset ${32 + 2 * 550} is 65535, not below the vocabulary of 300`,
    )
  })

  it('damaged files > rejects', async () => {
    const file = await written('damaged.tokens', tokensOf(100, 300), 300)
    const data = await readTokens(file, { context: 9 })
    await writeFile(file, (await readFile(file)).subarray(0, 150))
    expect(await rejectedMessage('invalid-data', () => readTokens(file, { context: 9 }))).toMatch(
      'damaged.tokens: not a valid token file: its 100 tokens end at offset 232, but the file has 150 bytes',
    )
    expect(await rejectedMessage('invalid-data', async () => data.batch([9]))).toMatch(
      'damaged.tokens ends at offset 150',
    )
    await writeFile(file, 'text')
    expect(await rejectedMessage('invalid-data', () => readTokens(file, { context: 9 }))).toMatch(
      "does not start with 'OITOKEN1'",
    )
    expect(await rejectedMessage('io', () => readTokens(path('none'), { context: 9 }))).toMatch('no such file')
  })

  it('a failed write > leaves no file', async () => {
    const file = path('never.tokens')
    const write = (tokens: number[], count: number) => () =>
      writeTokens(file, [tokens], { vocabulary: 10, tokens: count })
    expect(await rejectedMessage('invalid-data', write([1, 2], 3))).toMatch(/never\.tokens: .* 3 .* 2 /)
    expect(await rejectedMessage('invalid-data', write([1, 10], 2))).toMatch(
      'token 10 is not an integer below the vocabulary of 10',
    )
    for (const token of [-1, 1.5])
      expect(await rejectedMessage('invalid-data', write([1, token], 2))).toMatch(`token ${token}`)
    expect(await rejectedMessage('invalid-option', () => writeTokens(file, [], { vocabulary: 0, tokens: 0 }))).toMatch(
      'vocabulary',
    )
    await expect(stat(file)).rejects.toThrow('ENOENT')
  })

  it('invalid options > rejects', async () => {
    const file = await written('options.tokens', tokensOf(20, 300), 300)
    const message = (options: TokenWindowOptions) => rejectedMessage('invalid-option', () => readTokens(file, options))
    expect(await message({ context: 0 })).toMatch("option 'context' is 0")
    expect(await message({ context: 4, stride: 0.5 })).toMatch("option 'stride' is 0.5")
    expect(await message({ context: 4, target: 'tokens' })).toMatch("option 'target' is 'tokens'")
    expect(await rejectedMessage('invalid-data', () => readTokens(file, { context: 20 }))).toMatch(
      /options\.tokens has 20 tokens; .* 21/,
    )
  })
})
