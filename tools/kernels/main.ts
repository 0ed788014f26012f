import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import { targets } from '../../src/lowering/compile.js'
import { toProbe } from './form.js'
import { forms } from './forms.js'
import { outcomes } from './outcome.js'
import { startProber } from './process.js'
import { cpu, type RuntimeName, runtimes } from './runtimes.js'
import { surveyShaders } from './shaders.js'
import { type Kernel, type Kernels, type Place, surveyKernel } from './survey.js'

/**
 * Tests by running which runtimes have kernels for which operators, and which of them become compute shaders: `npx tsx
 * tools/kernels/main.ts`, then `npm run generate`, which writes them to OPERATORS.md. WebGPU needs a GPU or a software
 * GPU: with chromium of Debian installed, set VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json and
 * XDG_RUNTIME_DIR to any writable folder.
 */
const places: readonly Place[] = [...runtimes, 'shaders']
const program = new Command('kernels')
  .addOption(new Option('--runtime <names...>', 'only these; the rest stays').choices(places).default(places))
  .option('--operator <names...>', 'only these; the rest stays')
  .parse()
const { runtime: chosen, operator: only } = program.opts<{ runtime: Place[]; operator?: string[] }>()

const file = fileURLToPath(new URL('kernels.json', import.meta.url))
const before: Kernels = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { measured: {}, operators: {} }
const reference = await cpu()
const adapter = process.env['VK_ICD_FILENAMES']?.includes('swiftshader') ? ' on SwiftShader' : ''
const { node } = (await import('onnxruntime-node')).env.versions
const { web } = (await import('onnxruntime-web/wasm')).env.versions
const descriptions: Record<RuntimeName, string> = {
  cpu: `onnxruntime-node ${node}`,
  wasm: `onnxruntime-web ${web}`,
  webgpu: `onnxruntime-node ${node}${adapter}`,
}
const measured = { ...before.measured }
const operators: Record<string, Partial<Record<Place, Kernel>>> = {}
const all = forms()
for (const name of all.keys()) operators[name] = { ...before.operators[name] }
for (const runtime of chosen) {
  if (runtime === 'shaders') {
    for (const [name, ofOperator] of all)
      if (!only || only.includes(name)) operators[name]!.shaders = surveyShaders(ofOperator)
    continue
  }
  const { prober, end } = startProber(runtime)
  const { outcome } = await prober(toProbe(all.get('Abs')![0]!))
  if (outcome !== outcomes.runs) throw new Error(`${runtime} does not work here: Abs ${outcome}`)
  measured[runtime] = descriptions[runtime]
  for (const [name, ofOperator] of all) {
    if (only && !only.includes(name)) continue
    // WGSL has no float64.
    const tried = runtime === 'webgpu' ? ofOperator.filter(({ dtype }) => dtype !== 'float64') : ofOperator
    const kernel = await surveyKernel(
      tried,
      prober,
      runtime === 'cpu' ? undefined : reference,
      await targets[runtime]?.(),
    )
    operators[name]![runtime] = kernel
    console.log(`${runtime} ${name} ${JSON.stringify(kernel)}`)
  }
  end()
}
write()

/** Formats one line per runtime of an operator, if the formatter keeps it on one line. */
function write(): void {
  const rows = Object.entries(operators).map(([name, kernels]) => {
    const lines = Object.entries(kernels).map(([runtime, kernel]) => `"${runtime}": ${JSON.stringify(kernel)}`)
    return `"${name}": {\n${lines.join(',\n')}\n}`
  })
  writeFileSync(file, `{\n"measured": ${JSON.stringify(measured)},\n"operators": {\n${rows.join(',\n')}\n}\n}\n`)
  execFileSync('npx', ['biome', 'format', '--write', file])
}
