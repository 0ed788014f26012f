import { expect, test, vi } from 'vitest'
import type { Output } from '../../src/cli/io.js'
import { createTrainingProgress } from '../../src/cli/progress.js'

test('features > the pass is announced once, and its examples are counted in lines', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  try {
    const written: string[] = []
    const stream = { isTTY: false, write: (text: string) => written.push(text) > 0 } as unknown as Output
    const progress = createTrainingProgress(stream, false, 'loss')
    for (const done of [32, 64, 96, 100]) {
      vi.advanceTimersByTime(2000)
      progress.features({ done, total: 100 })
    }
    expect(written).toEqual([
      'running the frozen layers once over 100 examples\n',
      expect.stringMatching(/^100\/100 examples, \d+(\.\d+)? examples\/s, /),
    ])
  } finally {
    vi.useRealTimers()
  }
})
