import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { type Failure, observeFailures, patience, timeout } from './failures.js'
import { createHosts } from './hosts.js'
import { launch, launchers, measure, startAlone } from './launch.js'
import { describeProjection, predictStep, type Setting, stepBytes, sumsOfStep } from './model.js'

/**
 * `npx tsx tools/scale-out/main.ts`, as root: training steps in 1, 2 and 4 network namespaces that serve as machines, on
 * links of stated rate, compared with a prediction from separately measured costs; a projection to larger models; and how a job
 * ends if a process or a link fails. Writes RESULTS.md. Needs Debian's openmpi-bin, mpich, iproute2, openssh-server and openssh-client.
 */
const task = { hidden: [1024, 1024], batchSize: 256, steps: 12 }
/** Lengths of the sums of a step: loss and divisor, the small tensors together, and the two large matrices. */
const lengths = [1, 1, 12_298, 256 * 1024, 1024 * 1024]
/** Mbit/s of each link in each direction; null is as fast as this machine. */
const rates = [null, 1000, 100]

const alone = await measure(startAlone({ ...task, lengths: [] }))
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
        const measured = await measure(launch(hosts, launcher, size, { ...task, lengths }))
        settings.push({ launcher, link, size, measured })
        console.error(`${launcher}, ${link}, ${size}: ${(1000 * measured.step).toFixed(0)} ms`)
      }
    hosts.setRate(null)
    failures.push(...(await observeFailures(hosts, launcher)))
  }
} finally {
  hosts.remove()
}

const cores = cpus().length
const rows = settings.map((setting) => {
  const predicted = predictStep(setting, alone, cores)
  const cells = [
    setting.launcher,
    setting.link,
    setting.size,
    milliseconds(sumsOfStep(setting.measured)),
    milliseconds(setting.measured.step),
    milliseconds(predicted),
  ]
  return `| ${[...cells, percent(predicted / setting.measured.step - 1)].join(' | ')} |`
})
const text = `# Training on several machines: measured, predicted, projected

Written by \`npx tsx tools/scale-out/main.ts\`. Machines are network namespaces of one computer with ${cores} cores, each
with its own name, address and ssh server; links have the stated rate in each direction (tc's token bucket), and the
latency of this computer. One process on each machine, with one thread. With more
processes than cores they share the cores.

An MLP of ${alone.parameters.toLocaleString('en')} weights (256 inputs, two hidden layers of 1,024), AdamW, batch ${task.batchSize}: ${milliseconds(alone.step)} ms in one
process. Predicted is the computation of a part of the batch, the update,
and the sums of a step as measured without training. A step sends the gradients once, ${(stepBytes(alone) / 1e6).toFixed(1)} MB.

| MPI | link | processes | its sums alone, ms | step, ms | predicted, ms | error |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

${describeProjection(alone, task.batchSize)}

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
