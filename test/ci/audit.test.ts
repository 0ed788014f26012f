import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'

const audit = fileURLToPath(new URL('../../.ci/audit', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-audit-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Runs .ci/audit with an npm that prints this report. */
function runAudit(report: object, status: number) {
  const npm = join(folder, 'npm')
  writeFileSync(join(folder, 'report.json'), JSON.stringify(report, null, 2))
  writeFileSync(npm, `#!/bin/sh\nif [ "$1" != audit ]; then exit 99; fi\ncat ${folder}/report.json\nexit ${status}\n`)
  chmodSync(npm, 0o755)
  const { PATH } = process.env
  const ran = spawnSync(audit, { encoding: 'utf8', env: { PATH: `${folder}:${PATH}` } })
  return { status: ran.status, output: ran.stdout + ran.stderr }
}

const reportOf = (severities: Readonly<Record<string, number>>) => ({
  auditReportVersion: 2,
  vulnerabilities: {},
  metadata: { vulnerabilities: severities },
})

it('no vulnerability of level high > succeeds', () => {
  const { status, output } = runAudit(reportOf({ moderate: 3, high: 0 }), 0)
  expect(status).toBe(0)
  expect(output).toMatch(/no production dependency/)
})

it('a vulnerability of level high > fails and prints the report', () => {
  const { status, output } = runAudit(reportOf({ high: 1 }), 1)
  expect(status).toBe(1)
  expect(output).toMatch(/"high": 1/)
})

it('no answer of the registry > succeeds and says so', () => {
  const { status, output } = runAudit({ message: '405 Method Not Allowed', statusCode: 405, error: {} }, 1)
  expect(status).toBe(0)
  expect(output).toMatch(/not checked/)
})
