import { expect, it } from 'vitest'
import { SerialQueue } from '../../src/util/concurrent.js'
import { MonitoredDevice } from '../../src/web/runtime/monitored-device.js'

/** Runs a call that fails on a device with this report of a loss. */
function failOn(lost: Promise<unknown>): Promise<unknown> {
  const device = new MonitoredDevice({ lost } as unknown as GPUDevice, new SerialQueue())
  return device.run(() => Promise.reject(new Error('unmapped')))
}

it('a failure before the report of a loss > is device-lost', async () => {
  const report = { reason: 'destroyed', message: '' }
  const lost = new Promise((resolve) => setTimeout(resolve, 100, report))
  await expect(failOn(lost)).rejects.toMatchObject({ code: 'device-lost' })
})

it('calls after close, and failures of earlier ones > are those of a disposed runtime; earlier calls finish', async () => {
  let destroyed!: (report: unknown) => void
  const lost = new Promise((resolve) => {
    destroyed = resolve
  })
  const device = new MonitoredDevice({ lost } as unknown as GPUDevice, new SerialQueue())
  const disposed = { code: 'runtime', message: 'this runtime was disposed' }
  const earlier = device.run(async () => 'read')
  let fail!: (error: Error) => void
  const failing = device.run(() => new Promise((_, reject) => (fail = reject)))
  device.close()
  await expect(earlier).resolves.toBe('read')
  await expect(device.run(async () => 'read')).rejects.toMatchObject(disposed)
  destroyed({ reason: 'destroyed', message: '' })
  fail(new Error('unmapped'))
  await expect(failing).rejects.toMatchObject(disposed)
  await expect(device.run(async () => 'read')).rejects.toMatchObject(disposed)
  expect(device.isLost).toBe(false)
})

it('a failure without a loss > is thrown', async () => {
  await expect(failOn(new Promise(() => {}))).rejects.toThrow('unmapped')
})
