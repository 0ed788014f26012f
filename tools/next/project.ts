import { execFileSync, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { blocksOf } from '../../test/docs/program.js'
import { environmentsFolder } from '../python/environments.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const rootPackage = () => JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Folder of a page of Next.js, beside the Python environments. Next.js takes 400 MB, which stay there. */
export const nextFolder = (): string => join(environmentsFolder(), 'next')

export const isNextInstalled = (): boolean => existsSync(join(nextFolder(), 'node_modules/next'))

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: nextFolder(), encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
const write = (name: string, content: string) => writeFileSync(join(nextFolder(), name), content)

/** Installs the newest Next.js, and what this library depends on. */
export function installNext(): void {
  mkdirSync(nextFolder(), { recursive: true })
  write('package.json', JSON.stringify({ name: 'next-check', private: true, type: 'module' }))
  const { dependencies, devDependencies } = rootPackage()
  const packages = ['next', 'react', 'react-dom', 'typescript@5', '@types/react', '@types/node']
  const own = Object.entries<string>({ ...dependencies, 'onnxruntime-web': devDependencies['onnxruntime-web'] })
  run('npm', 'install', '--no-audit', '--no-fund', ...packages, ...own.map(([name, range]) => `${name}@${range}`))
}

/** Builds the component of docs/browser.md with the worker of docs/examples/web-app, and this library as it is packed. */
export function buildPage(): void {
  const installed = join(nextFolder(), 'node_modules/onnx-ire')
  rmSync(installed, { recursive: true, force: true })
  mkdirSync(installed, { recursive: true })
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', nextFolder()]
  const [{ filename }] = JSON.parse(execFileSync('npm', pack, { cwd: root, encoding: 'utf8' }))
  run('tar', '-xzf', filename, '--strip-components=1', '-C', installed)
  const [component] = blocksOf(readFileSync(join(root, 'docs/browser.md'), 'utf8'), 'tsx')
  mkdirSync(join(nextFolder(), 'app'), { recursive: true })
  write(
    'app/layout.tsx',
    `export default function Layout({ children }: { children: React.ReactNode }) {
  return <html lang="en"><body>{children}</body></html>
}`,
  )
  write('app/page.tsx', `import { Train } from './train'\nexport default function Page() { return <Train /> }`)
  write('app/train.tsx', component!.code)
  for (const name of ['draw-shapes.ts', 'worker.ts'])
    cpSync(join(root, 'docs/examples/web-app', name), join(nextFolder(), 'app', name))
  console.log(run('npx', 'next', 'build'))
}

/** Starts the server of the page, and trains in it: returns the log of a run on the CPU and of one on the GPU. */
export async function trainInPage(tab: Page): Promise<{ readonly cpu: string; readonly gpu: string }> {
  const url = 'http://localhost:4519/'
  const options = { cwd: nextFolder(), detached: true, stdio: 'ignore' } as const
  const server = spawn('npx', ['next', 'start', '-p', '4519'], options)
  const train = async (button: string, ending: RegExp) => {
    await tab.goto(url)
    await tab.click(`text=${button}`)
    await tab.locator('pre', { hasText: ending }).waitFor({ timeout: 120_000 })
    return (await tab.textContent('pre'))!
  }
  try {
    while (!(await fetch(url).catch(() => null))) await setTimeout(200)
    const cpu = await train('CPU', /wasm, .*can be tried/s)
    return { cpu, gpu: await train('GPU', /webgpu on .*epoch 1/s) }
  } finally {
    process.kill(-server.pid!)
  }
}
