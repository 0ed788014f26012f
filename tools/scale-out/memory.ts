import { launchHere, measure } from './launch.js'

/**
 * `npx tsx tools/scale-out/memory.ts`: prints, as a table in Markdown, the largest resident memory of the processes
 * that train an MLP with AdamW and IRE on this machine, with a whole and with a divided optimizer. Needs Debian's
 * openmpi-bin.
 */
const task = { hidden: [2048, 2048, 2048, 2048, 2048], batchSize: 64, steps: 8, enhanced: true }

const rows: string[] = []
let weights = 0
for (const size of [1, 2, 4]) {
  const cells: string[] = []
  for (const shardOptimizer of [false, true]) {
    const { peaks, parameters } = await measure(launchHere(size, { ...task, shardOptimizer }))
    weights = parameters
    cells.push(peaks.map((bytes) => Math.round(bytes / 1e6)).join(', '))
  }
  rows.push(`| ${size} | ${cells.join(' | ')} |`)
}
console.log(`${weights.toLocaleString('en')} weights\n
| processes | MB of each, whole optimizer | divided |
| --- | --- | --- |
${rows.join('\n')}`)
