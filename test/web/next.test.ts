import { expect, it } from 'vitest'
import { buildPage, trainInPage } from '../../tools/next/project.js'
import { needs } from '../requirements.js'
import { describeWithChromium, launch } from './browser.js'

const next = await needs('Next.js')

const openTab = async () => {
  const { tab, close } = await launch()
  return { browser: tab, close }
}

describeWithChromium('component of docs/browser.md in Next.js', openTab, (tab) => {
  it('next build, next start > trains on the CPU and on the GPU', { ...next, timeout: 300_000 }, async () => {
    buildPage()
    const { cpu, gpu } = await trainInPage(tab())
    const losses = [...cpu.matchAll(/^epoch \d+: loss ([\d.]+)/gm)].map(([, loss]) => Number(loss))
    expect(losses.length).toBeGreaterThan(3)
    expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.95)
    expect(gpu).toMatch(/^epoch 1: loss \d/m)
  })
})
