import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { type Failure, observeFailures, patience, timeout } from './failures.js'
import { createHosts } from './hosts.js'
import type { Measured } from './job.js'
import { launch, launchers, measure, startAlone } from './launch.js'
import { describeProjection, type Setting, stepBytes } from './model.js'

/**
 * `npx tsx tools/scale-out/main.ts`, as root: training steps in 1, 2 and 4 network namespaces that serve as machines, on
 * links of stated rate, compared with a prediction from separately measured costs; a projection to larger models; and how a job
 * ends if a process or a link fails. Writes RESULTS.md. Needs Debian's openmpi-bin, mpich, iproute2, openssh-server and openssh-client.
 */
const task = { hidden: [1024, 1024], batchSize: 256, steps: 12 }
/** Sums of a step: the number of examples, the loss with its divisors, and the gradients. */
const calls = [[2], [4, 1, 1], [256 * 1024, 1024, 1024 * 1024, 1024, 10 * 1024, 10]]
/** Mbit/s of each link in each direction; null is as fast as this machine. */
const rates = [null, 1000, 100]

/** Steps of one, two and four processes at the same time without MPI, each with a part of the batch. */
const alone = new Map<number, Measured>()
for (const size of [1, 2, 4]) {
  const part = { ...task, batchSize: task.batchSize / size, calls: [] }
  const all = await Promise.all(Array.from({ length: size }, () => measure(startAlone(part))))
  alone.set(size, all.toSorted((a, b) => a.step - b.step).at(-1)!)
}
const hosts = await createHosts(4)
const settings: Setting[] = []
const failures: Failure[] = []
try {
  for (const launcher of launchers) {
    // MPICH waits without leaving the core to others: with more processes than cores a step takes minutes.
    for (const rate of rates)
      for (const size of launcher === 'MPICH' ? [2] : [2, 4]) {
        hosts.setRate(rate)
        const link = rate === null ? 'this machine' : `${rate} Mbit/s`
        const measured = await measure(launch(hosts, launcher, size, { ...task, calls }))
        settings.push({ launcher, link, size, measured })
        console.error(`${launcher}, ${link}, ${size}: ${(1000 * measured.step).toFixed(0)} ms`)
      }
    hosts.setRate(null)
    failures.push(...(await observeFailures(hosts, launcher)))
  }
} finally {
  hosts.remove()
}

const one = alone.get(1)!
const rows = settings.map((setting) => {
  const predicted = alone.get(setting.size)!.step + setting.measured.sums
  const cells = [
    setting.launcher,
    setting.link,
    setting.size,
    milliseconds(setting.measured.sums),
    milliseconds(setting.measured.step),
    milliseconds(predicted),
  ]
  return `| ${[...cells, percent(predicted / setting.measured.step - 1)].join(' | ')} |`
})
const text = `# Training on several machines: measured, predicted, projected

Written by \`npx tsx tools/scale-out/main.ts\`. Machines are network namespaces of one computer with ${cpus().length} cores, each
with its own name, address and ssh server; links have the stated rate in each direction (tc's token bucket), and the
latency of this computer. One process on each machine, with one thread. With more
processes than cores they share the cores.

An MLP of ${one.parameters.toLocaleString('en')} weights (256 inputs, two hidden layers of 1,024), AdamW, batch ${task.batchSize}: ${milliseconds(one.step)} ms in one
process. Predicted is the sum of two costs that are measured apart: a step on a part of the batch, without MPI, of as many
processes at the same time (two: ${milliseconds(alone.get(2)!.step)} ms, four: ${milliseconds(alone.get(4)!.step)} ms); and the sums of a step, without training. A step sends the
gradients once, ${(stepBytes(one) / 1e6).toFixed(1)} MB.

| MPI | link | processes | its sums alone, ms | step, ms | predicted, ms | error |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

${describeProjection(one, task.batchSize)}

## Failures

Two processes on two hosts, \`mpi({ timeout: ${timeout} })\`. Seconds are those from the event to the end of the launcher, or to ${patience} s if it is
still running. With a cut link the launcher of Open MPI waits for the other host; the processes that train have ended.

| MPI | event | exit code | seconds | processes left |
| --- | --- | --- | --- | --- |
${failures.map(({ launcher, event, code, seconds, left }) => `| ${launcher} | ${event} | ${code} | ${seconds.toFixed(0)} | ${left} |`).join('\n')}
`
writeFileSync(new URL('RESULTS.md', import.meta.url), text)
console.log(text)

function milliseconds(seconds: number): string {
  return (1000 * seconds).toPrecision(3)
}

function percent(share: number): string {
  return `${share < 0 ? '' : '+'}${(100 * share).toFixed(0)} %`
}
