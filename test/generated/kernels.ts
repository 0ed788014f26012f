import { readFileSync } from 'node:fs'
import type { Form } from '../../tools/kernels/form.js'
import { outcomes } from '../../tools/kernels/outcome.js'
import { type RuntimeName, runtimes } from '../../tools/kernels/runtimes.js'
import type { Kernel, Kernels, Place, Result } from '../../tools/kernels/survey.js'

/** Measurements that tools/kernels/main.ts writes. */
export const kernels: Kernels = JSON.parse(
  readFileSync(new URL('../../tools/kernels/kernels.json', import.meta.url), 'utf8'),
)

const titles: Readonly<Record<RuntimeName, string>> = { cpu: 'CPU', wasm: 'wasm', webgpu: 'WebGPU' }

const isPartial = (result: Result): result is Exclude<Result, string> => typeof result !== 'string'

const words = [
  [outcomes.runs, 'yes'],
  [outcomes.lowered, 'lowered'],
  [outcomes.fallsBack, 'on CPU'],
] as const
/** Results that are no exception: the operator runs where it should. */
const good: ReadonlySet<string> = new Set([outcomes.runs, outcomes.lowered])

/** Whether WebGPU leaves something of a form to the CPU when it is lowered, as OPERATORS.md says. */
export function staysOnCpu({ operator, name, dtype }: Pick<Form, 'operator' | 'name' | 'dtype'>): boolean {
  const kernel = kernels.operators[operator]?.webgpu
  const result = kernel && resultsOf(kernel)[dtype]
  return result !== undefined && typeof result === 'object'
    ? (result[outcomes.fallsBack]?.includes(name) ?? false)
    : result === outcomes.fallsBack
}

/** One word for the forms of a type, how many of them are lowered, and how many do otherwise. */
function wordOf(result: Result): string {
  const has = (outcome: string) => (isPartial(result) ? Object.hasOwn(result, outcome) : result === outcome)
  const [best, word] = words.find(([outcome]) => has(outcome)) ?? ['', 'no']
  if (!isPartial(result) || !good.has(best)) return word
  const count = (counted: (outcome: string) => boolean) =>
    Object.entries(result).reduce((sum, [outcome, names]) => sum + (counted(outcome) ? names.length : 0), 0)
  const lowered = count((outcome) => outcome === outcomes.lowered && outcome !== best)
  const others = count((outcome) => !good.has(outcome))
  return `${word}${lowered > 0 ? `, ${lowered} lowered` : ''}${others > 0 ? `, but ${others}` : ''}`
}

/** By type, as this library has the forms run. */
const resultsOf = ({ types, lowered }: Kernel) => lowered ?? types

/** `yes`; or the types with a kernel; `to 21`: as far as that operator set. */
function cell(kernel: Kernel): string {
  const byWord = new Map<string, string[]>()
  for (const [dtype, result] of Object.entries(resultsOf(kernel))) {
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

/** The cell of compute shaders; empty for an operator that no graph has. */
export function shadersCell(operator: string): string {
  const kernel = kernels.operators[operator]?.shaders
  return kernel ? cell(kernel) : ''
}

/** Operators that WebGPU leaves to the CPU in every form. */
export const leftToCpu = (): readonly string[] =>
  Object.entries(kernels.operators).flatMap(([operator, { webgpu }]) =>
    webgpu && Object.values(resultsOf(webgpu)).every((result) => result === outcomes.fallsBack) ? [operator] : [],
  )

/** The forms counted in the cells, and what comes of them: one line for each thing that happens to an operator. */
export const exceptions = (): string =>
  Object.entries(kernels.operators)
    .flatMap(([operator, byRuntime]) => {
      const places = new Map<string, string[]>()
      for (const runtime of runtimes)
        for (const [dtype, result] of Object.entries(byRuntime[runtime] ? resultsOf(byRuntime[runtime]) : {}))
          for (const text of exceptionsOf(result))
            places.set(text, [...(places.get(text) ?? []), `${titles[runtime]} ${dtype}`])
      return [...places].map(([text, of]) => `- **${operator}** (${of.join(', ')}) ${text}`)
    })
    .join('\n')

function exceptionsOf(result: Result): string[] {
  if (!isPartial(result)) return result.startsWith('fails') ? [`${result}: all`] : []
  return Object.entries(result).flatMap(([outcome, names]) =>
    typeof names === 'string' || good.has(outcome) ? [] : [`${outcome}: ${names.join('; ')}`],
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
export function summaryOf(place: Place): string {
  const kinds = ['yes', 'lowered', 'on CPU', 'no']
  const found = Object.values(kernels.operators).flatMap((byPlace) => {
    const own = Object.values(byPlace[place] ? resultsOf(byPlace[place]) : {}).map(wordOf)
    return own.length === 0 ? [] : (kinds.find((kind) => own.some((word) => word.startsWith(kind))) ?? 'no')
  })
  const counts = kinds.map((kind) => found.filter((own) => own === kind).length)
  const [title, measured] = place === 'shaders' ? ['Shaders', 'this library'] : [titles[place], kernels.measured[place]]
  return `| ${[title, measured, ...counts].join(' | ')} |`
}
