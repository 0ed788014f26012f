import type { Reporter, TestCase, TestModule } from 'vitest/node'
import { type RequirementName, requirements } from './requirements.js'

/** Titles listed per suite; the rest is counted. */
const listedTitles = 4

/**
 * Ends a run with the tests that were skipped because the machine lacks something: their names, the reason, the remedy.
 */
export default class SkippedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = new Map<RequirementName, { why: string; suites: Map<string, string[]> }>()
    for (const module of modules)
      for (const test of module.children.allTests('skipped')) {
        const { missing } = test.meta()
        if (!missing) continue
        const entry = skipped.get(missing.requirement) ?? { why: missing.why, suites: new Map<string, string[]>() }
        skipped.set(missing.requirement, entry)
        const suite = suiteOf(module, test)
        entry.suites.set(suite, [...(entry.suites.get(suite) ?? []), test.name])
      }
    for (const [name, { why, suites }] of skipped) {
      const count = [...suites.values()].reduce((sum, { length }) => sum + length, 0)
      const { title, install } = requirements[name]
      console.log(`\nskipped: ${count} tests that need ${title} - install: ${install}`)
      console.log(`  reason: ${why}`)
      for (const [suite, titles] of suites) {
        const rest = titles.length - listedTitles
        const more = rest > 0 ? `; and ${rest} more` : ''
        console.log(`  - ${suite}: ${titles.slice(0, listedTitles).join('; ')}${more}`)
      }
    }
  }
}

function suiteOf(module: TestModule, test: TestCase): string {
  const { parent } = test
  return parent.type === 'suite' ? `${module.relativeModuleId} > ${parent.fullName}` : module.relativeModuleId
}
