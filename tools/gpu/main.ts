import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import type { AgreementReport } from './agreement.js'
import { examineCuda, findVulkanDrivers } from './machine.js'
import { type DeviceReport, type GpuReport, hasFailed, reportText, type TestReport } from './report.js'

/** `npm run check:gpu`: everything that can be checked on a machine with a GPU, written to GPU.md. */
const program = new Command('check:gpu')
  .description(
    'Run the CUDA and WebGPU tests on the GPUs of this machine, compare 50 steps with the CPU, measure the benchmark beside PyTorch, and write GPU.md.',
  )
  .addOption(new Option('--device <name>', 'one device only').choices(['cuda', 'webgpu']))
  .option('--software', 'accept a Vulkan driver that computes on the CPU, such as SwiftShader')
  .option('--no-tests', 'without the tests')
  .option('--no-bench', 'without the benchmark')
  .option('--workload <list>', 'workloads of the benchmark', 'mlp,resnet,vit,llama')
  .option('-o, --output <file>', 'the report', 'GPU.md')
  .addHelpText(
    'after',
    `
CUDA needs a card, its driver, onnxruntime's CUDA provider and CUDA's libraries: docs/gpu.md has the commands. WebGPU
needs a Vulkan driver. The benchmark compares with PyTorch if it is installed (npm run python -- torch).

Examples:
  npm run check:gpu                                   everything, about 20 minutes
  npm run check:gpu -- --device cuda --no-bench       CUDA's tests and the agreement with the CPU
  npm run check:gpu -- --software --no-bench          WebGPU's tests without a GPU`,
  )
  .parse()
const options = program.opts<{
  device?: 'cuda' | 'webgpu'
  software?: true
  tests: boolean
  bench: boolean
  workload: string
  output: string
}>()

const root = fileURLToPath(new URL('../..', import.meta.url))
const cuda = examineCuda()
const vulkan = findVulkanDrivers()
const driver = vulkan.find(({ software }) => !software) ?? (options.software ? vulkan[0] : undefined)
const environment: NodeJS.ProcessEnv = {
  ...process.env,
  ORT_DISABLE_TELEMETRY: '1',
  ...(driver && { VK_ICD_FILENAMES: driver.file, XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? tmpdir() }),
}

const wanted = (device: 'cuda' | 'webgpu') => options.device === undefined || options.device === device
const devices: DeviceReport[] = []
if (wanted('cuda') && cuda.missing.length === 0) devices.push(check('cuda'))
if (wanted('webgpu') && driver) devices.push(check('webgpu'))

const report: GpuReport = {
  date: new Date().toISOString().slice(0, 10),
  command: ['npm run check:gpu', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
  cuda: wanted('cuda') ? cuda : { cards: [], libraries: [], missing: [] },
  vulkan,
  devices,
}
const text = reportText(report)
console.log(text)
if (devices.length === 0) {
  console.error(
    `\nThere is no GPU to check: ${options.output} is not written. --software accepts a Vulkan driver on the CPU.`,
  )
  process.exitCode = 2
} else {
  writeFileSync(options.output, `${text}\n`)
  if (hasFailed(report)) process.exitCode = 1
}

function check(device: 'cuda' | 'webgpu'): DeviceReport {
  console.error(`${device}: agreement with the CPU ...`)
  const agreement = compare(device)
  if (options.tests) console.error(`${device}: tests ...`)
  const tests = options.tests ? runTests(device) : undefined
  if (options.bench) console.error(`${device}: benchmark ...`)
  const bench = options.bench ? runBench(device) : undefined
  return { device, agreement, ...(tests !== undefined && { tests }), ...(bench !== undefined && { bench }) }
}

function compare(device: string): AgreementReport | string {
  const { stdout, stderr, status, signal } = spawnSync(
    process.execPath,
    ['--import', 'tsx', join(root, 'tools/gpu/agreement.ts'), device],
    { cwd: root, env: environment, encoding: 'utf8', maxBuffer: 2 ** 26 },
  )
  // JSON writes NaN and Infinity as null.
  const restoreNaN = (_: string, value: unknown) => (value === null ? Number.NaN : value)
  if (status === 0) return JSON.parse(stdout.trimEnd().split('\n').at(-1)!, restoreNaN)
  return `It ended with ${signal ?? `exit code ${status}`}:\n\n\`\`\`\n${stderr.slice(-2000).trim()}\n\`\`\``
}

/** Runs the test files that require the device. */
function runTests(device: 'cuda' | 'webgpu'): TestReport | string {
  const uses =
    device === 'cuda' ? "needs\\('cuda'\\)" : "needs\\('webgpu'\\)|onCpuAndGpu\\(|describe(InBrowser|WithChromium)\\("
  const listed = execFileSync('grep', ['-rlE', uses, 'test', '--include=*.test.ts'], { cwd: root, encoding: 'utf8' })
  const files = listed.trim().split('\n').sort()
  const folder = mkdtempSync(join(tmpdir(), 'onnx-ire-gpu-'))
  try {
    const results = join(folder, 'results.json')
    const args = ['vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile=${results}`, ...files]
    spawnSync('npx', args, { cwd: root, env: environment, stdio: ['ignore', process.stderr, process.stderr] })
    return summarize(`npx vitest run ${files.join(' ')}`, JSON.parse(readFileSync(results, 'utf8')))
  } catch (error) {
    return `The tests did not run: ${(error as Error).message}`
  } finally {
    rmSync(folder, { recursive: true })
  }
}

interface VitestResults {
  readonly numPassedTests: number
  readonly numPendingTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[]
  }[]
}

function summarize(command: string, { numPassedTests, numPendingTests, testResults }: VitestResults): TestReport {
  const failed = testResults.flatMap(({ name, status, message, assertionResults }) => {
    const titles = assertionResults.filter((each) => each.status === 'failed').map(({ fullName }) => fullName)
    const file = name.slice(root.length)
    return titles.length === 0 && status === 'failed'
      ? [`${file}: ${message}`]
      : titles.map((title) => `${file}: ${title}`)
  })
  return { command, passed: numPassedTests, failed, skipped: numPendingTests }
}

function runBench(device: 'cuda' | 'webgpu'): string {
  const args = ['--device', device, '--workload', options.workload, '--against', device === 'cuda' ? 'torch' : 'none']
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--import', 'tsx', join(root, 'tools/bench/main.ts'), ...args, '--rounds', '3'],
    { cwd: root, env: environment, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 26 },
  )
  if (stdout.trim() !== '') return stdout.trim()
  return `It ended with exit code ${status}:\n\n\`\`\`\n${stderr.slice(-2000).trim()}\n\`\`\``
}
