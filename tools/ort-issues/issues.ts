import { operatorIssues } from './cpu/operators.js'
import { processIssues } from './cpu/processes.js'
import { sessionIssues } from './cpu/sessions.js'
import { speedIssues } from './cpu/speed.js'
import { typeIssues } from './cpu/types.js'
import { cudaIssues } from './cuda/issues.js'
import type { ProviderName, Reproducer, Reproducers } from './issue.js'
import { processIssues as webgpuProcessIssues } from './node-webgpu/processes.js'
import { fallbackIssues, resultIssues } from './node-webgpu/results.js'
import { speedIssues as webgpuSpeedIssues } from './node-webgpu/speed.js'
import { wasmIssues } from './web-wasm/issues.js'
import { wasmPageIssues, webGpuIssues } from './web-webgpu/issues.js'

/** Every reproducer, by provider, in the order of the document. */
const issues: Readonly<Record<ProviderName, Reproducers>> = {
  cpu: { ...operatorIssues, ...typeIssues, ...sessionIssues, ...processIssues, ...speedIssues },
  'node-webgpu': { ...resultIssues, ...fallbackIssues, ...webgpuProcessIssues, ...webgpuSpeedIssues },
  'web-wasm': { ...wasmIssues, ...wasmPageIssues },
  'web-webgpu': webGpuIssues,
  cuda: cudaIssues,
}

export interface Issue {
  readonly slug: string
  readonly provider: ProviderName
  readonly reproducer: Reproducer
}

export const allIssues: readonly Issue[] = Object.entries(issues).flatMap(([provider, reproducers]) =>
  Object.entries(reproducers).map(([slug, reproducer]) => ({ slug, provider: provider as ProviderName, reproducer })),
)

/** Returns the issue of a slug. */
export function findReproducer(slug: string): Issue {
  const issue = allIssues.find((issue) => issue.slug === slug)
  if (!issue) throw new Error(`no issue '${slug}'; the slugs are ${allIssues.map(({ slug }) => slug).join(', ')}`)
  return issue
}
