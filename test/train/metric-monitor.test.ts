import { expect, it } from 'vitest'
import { type MonitorState, watched } from '../../src/train/metric-monitor.js'

const after = (losses: readonly number[]): MonitorState | null =>
  losses.reduce<MonitorState | null>((state, loss, step) => {
    const next = watched({}, state, { loss, count: 1 }, step)
    // As through a checkpoint.
    const kept: MonitorState = JSON.parse(JSON.stringify(next))
    expect(kept).toEqual(next)
    return kept
  }, null)

it('what is not finite is never better, and anything finite is better than it', () => {
  expect(after([3, Number.NaN, Infinity, -Infinity])).toEqual({ value: 3, step: 0, waited: 3 })
  for (const odd of [Number.NaN, Infinity, -Infinity]) {
    expect(after([odd, odd])!.waited).toBe(2)
    expect(after([odd, 1e300])).toEqual({ value: 1e300, step: 1, waited: 0 })
  }
})
