import { afterEach, expect, it, vi } from 'vitest'
import { Camera } from '../../tools/playground/page/camera.js'

afterEach(() => vi.unstubAllGlobals())

const use = (getUserMedia: () => Promise<unknown>) => vi.stubGlobal('navigator', { mediaDevices: { getUserMedia } })

it('a camera that is unplugged > is off, and the page is informed once', async () => {
  const tracks = [new EventTarget()].map((track) => Object.assign(track, { stop: () => {} }))
  use(async () => ({ getTracks: () => tracks }))
  const onLost = vi.fn()
  const video = { style: {}, play: async () => {}, srcObject: null }
  const camera = new Camera([video as unknown as HTMLVideoElement], onLost)
  await camera.start()
  expect(camera.on).toBe(true)
  for (let i = 0; i < 2; i++) tracks[0]!.dispatchEvent(new Event('ended'))
  expect([camera.on, video.srcObject, onLost.mock.calls.length]).toEqual([false, null, 1])
})

it('a camera that is refused after the page has left it > is no error; before, it is', async () => {
  use(() => Promise.reject(new DOMException('refused', 'NotAllowedError')))
  const camera = new Camera([], () => {})
  const starting = camera.start()
  camera.stop()
  await starting
  await expect(camera.start()).rejects.toThrow(/not allowed/)
})
