import { describe, expect, it } from 'vitest'
import { goldenGraphs } from './golden-graphs.js'

/**
 * `npm run generate` writes these files. A change in them is a change in what is computed: read it before you commit
 * it.
 */
describe('golden graphs', () => {
  it.each([...goldenGraphs()])('graphs/%s is what the code gives', async (file, text) => {
    await expect(text).toMatchFileSnapshot(`../../graphs/${file}`)
  })
})
