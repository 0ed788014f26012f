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

it('a failure without a loss > is thrown', async () => {
  await expect(failOn(new Promise(() => {}))).rejects.toThrow('unmapped')
})
