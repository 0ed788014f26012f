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
    const kernel = kernels.operators[operator]?.[runtime]
    return kernel ? cell(kernel) : ''
  })

/** The forms counted in the cells, and what comes of them. */
export const exceptions = (): string =>
  Object.entries(kernels.operators)
    .flatMap(([operator, byRuntime]) => {
      const lines = new Map<string, RuntimeName[]>()
      for (const runtime of runtimes)
        for (const line of exceptionsOf(byRuntime[runtime])) lines.set(line, [...(lines.get(line) ?? []), runtime])
      return [...lines].map(
        ([line, of]) => `- ${operator}, ${of.map((runtime) => titles[runtime]).join(' and ')}: ${line}`,
      )
    })
    .join('\n')

const exceptionsOf = (kernel: Kernel | undefined): string[] =>
  Object.entries(kernel?.types ?? {}).flatMap(([dtype, result]) =>
    isPartial(result)
      ? Object.entries(result).flatMap(([outcome, names]) =>
          outcome === outcomes.runs || typeof names === 'string' ? [] : [`${dtype}: ${outcome}: ${names.join('; ')}`],
        )
      : result.startsWith('fails')
        ? [`${dtype}: ${result}`]
        : [],
  )

/** The row of a runtime: with what it was measured, and how many operators run there, in some type and form. */
export function summaryOf(runtime: RuntimeName): string {
  const words = Object.values(kernels.operators).map((byRuntime) => {
    const own = Object.values(byRuntime[runtime]!.types).map(wordOf)
    return own.some((word) => word.startsWith('yes')) ? 'yes' : own.includes('on CPU') ? 'on CPU' : 'no'
  })
  const counts = ['yes', 'on CPU', 'no'].map((word) => words.filter((own) => own === word).length)
  return `| ${[titles[runtime], kernels.measured[runtime], ...counts].join(' | ')} |`
}
