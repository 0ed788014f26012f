import { suites } from './case.js'
import type { CaseOutcome, Outcome } from './outcome.js'

const halves = ['forward', 'gradient'] as const

interface Line {
  readonly reason: string
  readonly name: string
  readonly detail: string
}

const count = (outcomes: readonly Outcome[], result: Outcome['result']) =>
  outcomes.filter((outcome) => outcome.result === result).length

function counts(cases: readonly CaseOutcome[]): string {
  const rows = [...suites, 'all'].flatMap((suite) => {
    const of = cases.filter(({ name }) => suite === 'all' || name.startsWith(`${suite}/`))
    if (of.length === 0) return []
    return halves.map((half) => {
      const outcomes = of.map((each) => each[half])
      const nothing = count(outcomes, 'nothing')
      return `| ${suite} | ${half} | ${of.length - nothing} | ${count(outcomes, 'passed')} | ${count(outcomes, 'exception')} | ${count(outcomes, 'failed')} |`
    })
  })
  return ['| suite | | cases | pass | exceptions | fail |', '|---|---|---|---|---|---|', ...rows].join('\n')
}

const notes = (cases: readonly CaseOutcome[]): string =>
  halves
    .flatMap((half) => {
      const byNote = new Map<string, number>()
      for (const each of cases) {
        const outcome = each[half]
        if (outcome.result !== 'passed' || !outcome.note) continue
        byNote.set(outcome.note, (byNote.get(outcome.note) ?? 0) + 1)
      }
      return [...byNote].sort((a, b) => b[1] - a[1]).map(([note, number]) => `- ${half}: ${number} ${note}`)
    })
    .join('\n')

const lines = (cases: readonly CaseOutcome[], half: 'forward' | 'gradient', result: 'exception' | 'failed'): Line[] =>
  cases
    .flatMap(({ name, [half]: outcome }): Line[] =>
      outcome.result === result && 'detail' in outcome
        ? [{ name, detail: outcome.detail, reason: 'reason' in outcome ? outcome.reason : 'failed' }]
        : [],
    )
    .sort((a, b) => a.reason.localeCompare(b.reason) || a.name.localeCompare(b.name))

const cell = (text: string): string =>
  text.replaceAll('\n', ' ').replaceAll('|', '\\|').replace(/\s+/g, ' ').slice(0, 220)

function table(of: readonly Line[]): string {
  const rows = of.map(({ reason, name, detail }) => `| ${reason} | ${name} | ${cell(detail)} |`)
  return ['| reason | case | detail |', '|---|---|---|', ...rows].join('\n')
}

/** Formats a summary for the terminal. */
export function formatSummary(cases: readonly CaseOutcome[]): string {
  const parts = halves.flatMap((half) =>
    (['failed', 'exception'] as const).flatMap((result) => {
      const of = lines(cases, half, result)
      return of.length === 0
        ? []
        : [
            `\n${half}: ${of.length} ${result}`,
            ...of.map(
              ({ reason, name, detail }) => `  ${reason}: ${name}: ${detail.replaceAll('\n', ' ').slice(0, 400)}`,
            ),
          ]
    }),
  )
  return [...parts, '', counts(cases), '', notes(cases)].join('\n')
}

/** Formats RESULTS.md. */
export function formatReport(cases: readonly CaseOutcome[]): string {
  const sections = halves.flatMap((half) => {
    const bad = lines(cases, half, 'failed')
    const exceptions = lines(cases, half, 'exception')
    return [
      ...(bad.length > 0 ? [`\n## Failures: ${half}\n\n${table(bad)}`] : []),
      ...(exceptions.length > 0 ? [`\n## Exceptions: ${half}\n\n${table(exceptions)}`] : []),
    ]
  })
  return `# ONNX's backend tests

Written by \`npx tsx tools/conformance/main.ts\` over the test data of ONNX 1.12 (Debian: libonnx-testdata).

Forward: the model imported, exported, and run in onnxruntime equals the stored output (1e-7 + 1e-3 relative, as ONNX's runner has it). Gradient: for every case with floating-point inputs and outputs, the gradient model agrees with central differences along directions of all inputs and of each, a random one and one uphill, where no terms cancel: to 1e-6 of the sum of magnitudes in float64, to 5e-3 in float32 where onnxruntime has no float64 kernel. Points on kinks and jumps are moved.

${counts(cases)}

${notes(cases)}
${sections.join('\n')}
`
}
