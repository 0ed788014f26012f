import type { Turn, Unable } from '../protocol.js'
import { type Interval, medianInterval, spreadOf } from '../statistics.js'
import type { Tab } from './tab.js'

/** Time of training with IRE by that of its base optimizer, of both in one page. */
export interface Price {
  readonly about: string
  /** Seconds per step of the base optimizer; median over the blocks. */
  readonly base: number
  /** Time of a block with IRE divided by that of the block without it before or after it. */
  readonly ratios: readonly number[]
  readonly ratio: Interval
}

/**
 * Measures the price of IRE: two trainings in one page take turns in blocks of as many steps as IRE has between two
 * refreshes of its mask, for about `seconds`. Every other pair of blocks starts with IRE.
 */
export async function measurePrice(
  base: Tab,
  enhanced: Tab,
  { interval, seconds }: { readonly interval: number; readonly seconds: number },
): Promise<Price | Unable> {
  try {
    const { about } = able(await base.start())
    able(await enhanced.start())
    const block = async (tab: Tab) => able<Turn>(await tab.run(interval)).seconds
    for (const tab of [base, enhanced]) await block(tab)
    const pairs: { readonly without: number; readonly with: number }[] = []
    const start = performance.now()
    // An interval of the median takes six pairs.
    while (pairs.length < 6 || performance.now() - start < 1000 * seconds) {
      const first = pairs.length % 2 === 0 ? undefined : await block(enhanced)
      const without = await block(base)
      pairs.push({ without, with: first ?? (await block(enhanced)) })
    }
    const ratios = pairs.map((pair) => pair.with / pair.without)
    const median = spreadOf(pairs.map(({ without }) => without)).median
    return { about, base: median / interval, ratios, ratio: medianInterval(ratios) }
  } catch (error) {
    return { unable: (error as Error).message }
  } finally {
    await base.stop()
  }
}

function able<T extends object>(answer: T | Unable): T {
  if ('unable' in answer) throw new Error(answer.unable)
  return answer
}

/** Formats the prices on all models and devices as a Markdown table. */
export function priceText(rows: readonly { title: string; on: string; price: Price | Unable }[]): string {
  return [
    '| | | ms per step without IRE | with IRE, times without | pairs | |',
    '|---|---|---|---|---|---|',
    ...rows.map(({ title, on, price }) => `| ${title} | ${on} | ${cells(price)} |`),
  ].join('\n')
}

function cells(price: Price | Unable): string {
  if ('unable' in price) return `cannot: ${price.unable.replaceAll('|', '\\|')} | | | `
  const { base, ratio, ratios, about } = price
  const interval = `${ratio.median.toFixed(3)} (${ratio.low.toFixed(3)}-${ratio.high.toFixed(3)})`
  return `${(1000 * base).toPrecision(3)} | ${interval} | ${ratios.length} | ${about}`
}
