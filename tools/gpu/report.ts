import type { Agreement, AgreementReport } from './agreement.js'
import type { CudaMachine, VulkanDriver } from './machine.js'

/** Findings of a run of the tests. */
export interface TestReport {
  readonly command: string
  readonly passed: number
  readonly failed: readonly string[]
  readonly skipped: number
}

/** Results on one device; a part is a text if it could not be measured. */
export interface DeviceReport {
  readonly device: 'cuda' | 'webgpu'
  readonly tests?: TestReport | string
  readonly agreement?: AgreementReport | string
  /** Text of `npm run bench`. */
  readonly bench?: string
}

export interface GpuReport {
  readonly date: string
  readonly command: string
  readonly cuda: CudaMachine
  readonly vulkan: readonly VulkanDriver[]
  readonly devices: readonly DeviceReport[]
}

/** Largest differences that count as agreement, in float32. */
const tolerance = { loss: 1e-3, parameters: 1e-2 }

/** Whether a device follows the CPU on a model. */
export const agrees = ({ loss, parameters }: Agreement): boolean =>
  loss <= tolerance.loss && parameters <= tolerance.parameters

/** Whether anything that ran has failed. */
export const hasFailed = ({ devices }: GpuReport): boolean =>
  devices.some(
    ({ tests, agreement }) =>
      typeof tests === 'string' ||
      typeof agreement === 'string' ||
      (tests?.failed.length ?? 0) > 0 ||
      agreement?.models.some((each) => !agrees(each)),
  )

/** Formats GPU.md. */
export const reportText = (report: GpuReport): string =>
  [
    '# GPU',
    `Written by \`${report.command}\`, ${report.date}.`,
    machineText(report),
    ...report.devices.map(deviceText),
    ...(report.devices.length === 0 ? ['Nothing was run.'] : []),
  ].join('\n\n')

function machineText({ cuda, vulkan }: GpuReport): string {
  return [
    ...cuda.cards.map(
      ({ name, driver, memory, capability }) =>
        `- ${name}, ${memory}, driver ${driver}, compute capability ${capability}`,
    ),
    ...cuda.libraries.map(({ name, path }) => `- ${name}: ${path ?? 'not found'}`),
    ...cuda.missing.map((text) => `- CUDA: ${text}`),
    ...vulkan.map(({ file, software }) => `- Vulkan driver ${file}${software ? ', which computes on the CPU' : ''}`),
    ...(vulkan.length === 0 ? ['- no Vulkan driver'] : []),
  ].join('\n')
}

function deviceText({ device, tests, agreement, bench }: DeviceReport): string {
  const parts = [`## ${device === 'cuda' ? 'CUDA' : 'WebGPU'}`]
  if (tests !== undefined) parts.push(`### Tests\n\n${typeof tests === 'string' ? tests : testsText(tests)}`)
  if (agreement !== undefined)
    parts.push(
      `### 50 steps of AdamW + IRE beside the CPU\n\n${typeof agreement === 'string' ? agreement : agreementText(agreement)}`,
    )
  if (bench !== undefined) parts.push(`### Benchmark\n\n${bench}`)
  return parts.join('\n\n')
}

const testsText = ({ command, passed, failed, skipped }: TestReport): string =>
  [
    `\`${command}\`: ${passed} passed, ${failed.length} failed, ${skipped} skipped.`,
    ...failed.map((title) => `- failed: ${title}`),
  ].join('\n')

const agreementText = ({ runtime, models }: AgreementReport): string =>
  [
    `${runtime}. Differences of at most ${tolerance.loss} (loss) and ${tolerance.parameters} (parameters, as a share of the distance moved) count as agreement.`,
    '',
    '| model | loss | parameters | ms per step, CPU | ms per step, device | |',
    '|---|---|---|---|---|---|',
    ...models.map((each) => {
      const { model, loss, parameters, cpu, device } = each
      return `| ${model} | ${loss.toExponential(1)} | ${parameters.toExponential(1)} | ${cpu.toFixed(1)} | ${device.toFixed(1)} | ${agrees(each) ? 'agrees' : 'DIFFERS'} |`
    }),
  ].join('\n')
