import { readFileSync } from 'node:fs'
import { outcomes } from '../../tools/kernels/outcome.js'
import { type RuntimeName, runtimes } from '../../tools/kernels/runtimes.js'
import type { Kernel, Kernels, Result } from '../../tools/kernels/survey.js'

/** What was measured: tools/kernels/main.ts writes it. */
export const kernels: Kernels = JSON.parse(
  readFileSync(new URL('../../tools/kernels/kernels.json', import.meta.url), 'utf8'),
)

const titles: Readonly<Record<RuntimeName, string>> = { cpu: 'CPU', wasm: 'wasm', webgpu: 'WebGPU' }

const isPartial = (result: Result): result is Exclude<Result, string> => typeof result !== 'string'

/** One word for the forms of a type, and how many of them do otherwise. */
function wordOf(result: Result): string {
  if (!isPartial(result)) return result === outcomes.runs ? 'yes' : result === outcomes.fallsBack ? 'on CPU' : 'no'
  const rest = Object.entries(result).filter(([outcome]) => outcome !== outcomes.runs)
  if (!Object.hasOwn(result, outcomes.runs)) return Object.hasOwn(result, outcomes.fallsBack) ? 'on CPU' : 'no'
  return `yes, but ${rest.reduce((count, [, names]) => count + names.length, 0)}`
}

/** `yes`; or the types with a kernel; `to 21`: as far as that operator set. */
function cell(kernel: Kernel): string {
  const byWord = new Map<string, string[]>()
  for (const [dtype, result] of Object.entries(kernel.types)) {
    if (result === outcomes.noType) continue
    const word = wordOf(result)
    byWord.set(word, [...(byWord.get(word) ?? []), dtype])
  }
  if (byWord.size > 1) byWord.delete('no')
  const types = Object.keys(kernel.types).length
  const parts = [...byWord].map(([word, dtypes]) =>
    dtypes.length === types ? word : word === 'yes' ? dtypes.join(', ') : `${dtypes.join(', ')}: ${word}`,
  )
  return parts.join('; ') + (kernel.until === undefined ? '' : `, to ${kernel.until}`)
}

/** The cells of an operator, one for each runtime; empty for one that no graph has. */
export const kernelCells = (operator: string): string[] =>
  runtimes.map((runtime) => {
    const byRuntime = kernels.operators[operator]
    const kernel = byRuntime?.[runtime]
    return kernel ? cell(kernel) : byRuntime ? 'not tried' : ''
  })

/** The forms counted in the cells, and what comes of them: one line for each thing that happens to an operator. */
export const exceptions = (): string =>
  Object.entries(kernels.operators)
    .flatMap(([operator, byRuntime]) => {
      const places = new Map<string, string[]>()
      for (const runtime of runtimes)
        for (const [dtype, result] of Object.entries(byRuntime[runtime]?.types ?? {}))
          for (const text of exceptionsOf(result))
            places.set(text, [...(places.get(text) ?? []), `${titles[runtime]} ${dtype}`])
      return [...places].map(([text, of]) => `- **${operator}** (${of.join(', ')}) ${text}`)
    })
    .join('\n')

function exceptionsOf(result: Result): string[] {
  if (!isPartial(result)) return result.startsWith('fails') ? [`${result}: all`] : []
  return Object.entries(result).flatMap(([outcome, names]) =>
    typeof names === 'string' ? [] : [`${outcome}: ${names.join('; ')}`],
  )
}

/** Operators whose kernel ends before the newest operator set. */
export const ending = (runtime: RuntimeName): string =>
  Object.entries(kernels.operators)
    .flatMap(([operator, byRuntime]) => {
      const until = byRuntime[runtime]?.until
      return until === undefined ? [] : [`${operator} (${until})`]
    })
    .join(', ')

/** The row of a runtime: with what it was measured, and how many operators run there, in some type and form. */
export function summaryOf(runtime: RuntimeName): string {
  const words = Object.values(kernels.operators).flatMap((byRuntime) => {
    const own = Object.values(byRuntime[runtime]?.types ?? {}).map(wordOf)
    if (own.length === 0) return []
    return own.some((word) => word.startsWith('yes')) ? 'yes' : own.includes('on CPU') ? 'on CPU' : 'no'
  })
  const counts = ['yes', 'on CPU', 'no'].map((word) => words.filter((own) => own === word).length)
  return `| ${[titles[runtime], kernels.measured[runtime], ...counts].join(' | ')} |`
}
