import { describe, expect, it } from 'vitest'
import { goldenGraphs } from './golden-graphs.js'

/** `npm run generate` writes these files anew; a change in them is a change in what is computed, to be read before it is committed. */
describe('golden graphs', () => {
  it.each([...goldenGraphs()])('graphs/%s is what the code gives', async (file, text) => {
    await expect(text).toMatchFileSnapshot(`../../graphs/${file}`)
  })
})
