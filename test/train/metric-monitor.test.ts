import { expect, it } from 'vitest'
import { MetricMonitor, type MonitorState } from '../../src/train/metric-monitor.js'

/** The state after evaluations with these losses, saved and restored after each one. */
const stateAfter = (losses: readonly number[]): MonitorState | null =>
  losses.reduce<MonitorState | null>((saved, loss, step) => {
    const monitor = new MetricMonitor({}, saved)
    monitor.add({ loss, count: 1 }, step)
    const restored: MonitorState = JSON.parse(JSON.stringify(monitor.state))
    expect(restored).toEqual(monitor.state)
    return restored
  }, null)

it('a value that is not finite is never better, and any finite value is better', () => {
  expect(stateAfter([3, Number.NaN, Infinity, -Infinity])).toEqual({ value: 3, step: 0, waited: 3 })
  for (const value of [Number.NaN, Infinity, -Infinity]) {
    expect(stateAfter([value, value])!.waited).toBe(2)
    expect(stateAfter([value, 1e300])).toEqual({ value: 1e300, step: 1, waited: 0 })
  }
})

it.each(['loss', 'perplexity', 'mae', 'cer', 'wer', 'ece', 'digits/cer'])('%s > is better when smaller', (metric) => {
  const monitor = new MetricMonitor({ metric })
  expect([0.5, 0.4, 0.6].map((value, step) => monitor.add({ loss: 1, count: 1, [metric]: value }, step))).toEqual([
    true,
    true,
    false,
  ])
})
