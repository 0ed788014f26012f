import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, it } from 'vitest'
import { publishedFolder, readPagesWorkflow, root } from '../../tools/pages/workflow.js'
import config from '../../tools/playground/vite.config.js'

it('workflow of the playground > runs scripts that exist, and publishes the folder that they write', () => {
  const workflow = readPagesWorkflow()
  const { scripts, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const { steps } = workflow.jobs.deploy
  const commands = steps.flatMap(({ run }) => run ?? [])
  expect(commands).toEqual(['npm ci', 'npm run playground:build'])
  expect(scripts['playground:build']).toContain('vite build tools/playground')
  const { build, base, root: source } = config
  expect(resolve(root, publishedFolder(workflow))).toBe(resolve(source!, build!.outDir!))
  // Below a path of the host.
  expect(base).toBe('./')
  expect(workflow.permissions).toMatchObject({ pages: 'write', 'id-token': 'write' })
  const node = steps.find(({ uses }) => uses?.startsWith('actions/setup-node@'))?.with?.['node-version']
  expect(Number(node)).toBeGreaterThanOrEqual(Number(/\d+/.exec(engines.node)))
})
