import { describe, expect, it } from 'vitest'
import { publicApi } from '../../tools/docs/public-api.js'

/**
 * `npm run generate` writes these files. A difference is a change of the public API: it needs an entry in CHANGELOG.md.
 */
describe('public API', () => {
  it.each([...publicApi()])('%s > its declarations > equal the snapshot', async (entry, text) => {
    await expect(text).toMatchFileSnapshot(`public-api/${entry.replaceAll('/', '-')}.txt`)
  })
})
