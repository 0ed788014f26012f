import { createHosts } from './hosts.js'
import { launch, measure } from './launch.js'

/**
 * `npx tsx tools/scale-out/slow-link.ts`, as root: prints, as a table in Markdown, the mean time of a training step of two
 * processes in two network namespaces, by the rate of their link and by what they send. Needs what main.ts needs.
 */
// 22 steps of an epoch are two rounds of 11; the first two steps are not measured.
const task = { hidden: [1024, 1024], batchSize: 256, steps: 20 }
const settings = {
  gradients: {},
  'in 16 bits': { gradientCompression: 'bfloat16' },
  '11 local steps': { localSteps: { steps: 11 } },
  both: { localSteps: { steps: 11 }, gradientCompression: 'bfloat16' },
} as const

const hosts = await createHosts(2)
const rows: string[] = []
try {
  for (const rate of [1000, 100]) {
    hosts.setRate(rate)
    const cells: string[] = []
    for (const sending of Object.values(settings)) {
      const { mean } = await measure(launch(hosts, 'Open MPI', 2, { ...task, sending }))
      cells.push((1000 * mean).toFixed(0))
    }
    rows.push(`| ${rate} | ${cells.join(' | ')} |`)
  }
} finally {
  hosts.remove()
}
console.log(`Milliseconds of a step

| Mbit/s | ${Object.keys(settings).join(' | ')} |
| --- | ${Object.keys(settings)
  .map(() => '---')
  .join(' | ')} |
${rows.join('\n')}`)
