import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { blocksOf } from '../../test/docs/program.js'
import { launchChromium } from '../chromium.js'

/**
 * Trains in Chromium with the worker of docs/examples/web-app and the component of docs/browser.md, built with the
 * newest Next.js: `npm run build && npx tsx tools/next/main.ts`. It is no test of the suite because Next.js takes 400
 * MB.
 */
const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-next-'))
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
const write = (name: string, content: string) => writeFileSync(join(folder, name), content)

const [component] = blocksOf(readFileSync(join(root, 'docs/browser.md'), 'utf8'), 'tsx')
const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder]
const [{ filename }] = JSON.parse(execFileSync('npm', pack, { cwd: root, encoding: 'utf8' }))
write('package.json', JSON.stringify({ name: 'next-check', private: true, type: 'module' }))
const packages = ['next', 'react', 'react-dom', 'typescript@5', '@types/react', '@types/node', 'onnxruntime-web@1.30.0']
run('npm', 'install', '--no-audit', '--no-fund', ...packages, `./${filename}`)
mkdirSync(join(folder, 'app'))
write(
  'app/layout.tsx',
  `export default function Layout({ children }: { children: React.ReactNode }) {
  return <html lang="en"><body>{children}</body></html>
}`,
)
write('app/page.tsx', `import { Train } from './train'\nexport default function Page() { return <Train /> }`)
write('app/train.tsx', component!.code)
const example = join(root, 'docs/examples/web-app')
for (const name of ['draw-shapes.ts', 'worker.ts']) cpSync(join(example, name), join(folder, 'app', name))
console.log(run('npx', 'next', 'build'))

const url = 'http://localhost:4519/'
const server = spawn('npx', ['next', 'start', '-p', '4519'], { cwd: folder, detached: true, stdio: 'ignore' })
const { context, close } = await launchChromium()
try {
  while (!(await fetch(url).catch(() => null))) await setTimeout(200)
  const tab = await context.newPage()
  for (const [button, ending] of [
    ['CPU', /wasm, .*can be tried/s],
    ['GPU', /webgpu on .*epoch 1/s],
  ] as const) {
    await tab.goto(url)
    await tab.click(`text=${button}`)
    await tab.locator('pre', { hasText: ending }).waitFor({ timeout: 120_000 })
    console.log(await tab.textContent('pre'))
  }
} finally {
  await close()
  process.kill(-server.pid!)
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}
