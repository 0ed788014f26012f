import { expect, it } from 'vitest'
import { pixels } from '../../src/web/data/decode-image.js'

it('options of pixels that do not exist > invalid-option', async () => {
  const canvas = {} as ImageBitmapSource
  for (const options of [{ channels: 1 }, { chanels: 4 }])
    await expect(pixels(canvas, options as object)).rejects.toMatchObject({ code: 'invalid-option' })
})
