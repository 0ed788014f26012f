import { expect, it } from 'vitest'
import { buildPage, trainInPage } from '../../tools/next/project.js'
import { numbersIn } from '../docs/program.js'
import { needs } from '../requirements.js'
import { describeWithChromium, openTab } from './browser.js'

const next = await needs('Next.js')

describeWithChromium('component of docs/browser.md in Next.js', openTab, (tab) => {
  it('next build, next start > trains on the CPU and on the GPU', { ...next, timeout: 300_000 }, async () => {
    buildPage()
    const { cpu, gpu } = await trainInPage(tab())
    const losses = numbersIn(cpu, /^epoch \d+: loss ([\d.]+)/gm)
    expect(losses.length).toBeGreaterThan(3)
    expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.95)
    expect(gpu).toMatch(/^epoch 1: loss \d/m)
  })
})
