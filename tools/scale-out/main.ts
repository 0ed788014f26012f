import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { type Failure, observeFailures, patience, timeout } from './failures.js'
import { createHosts } from './hosts.js'
import type { Measured } from './job.js'
import { launch, launchers, measure, startAlone } from './launch.js'
import { describeProjection, type Link, predictStep, ringSeconds, type Setting, stepBytes } from './model.js'

/**
 * `npx tsx tools/scale-out/main.ts`, as root: training steps in 1, 2 and 4 network namespaces that serve as machines, on
 * links of stated rate and latency, compared with a prediction from separately measured costs; a projection to larger models;
 * and how a job ends if a process or a link fails. Writes RESULTS.md. Needs Debian's openmpi-bin, mpich, iproute2, python3,
 * openssh-server and openssh-client.
 */
const task = { hidden: [1024, 1024], batchSize: 256, steps: 40 }
/** Lengths of the gradients. `sendInBuckets` sums the two large ones in place, and the others together. */
const gradients = [256 * 1024, 1024, 1024 * 1024, 1024, 10 * 1024, 10]
const calls = 3
const links: readonly Link[] = [
  { rate: null, roundTrip: 0 },
  { rate: 1000, roundTrip: 0 },
  { rate: 100, roundTrip: 0 },
  { rate: 1000, roundTrip: 0.001 },
  { rate: 1000, roundTrip: 0.02 },
]

/** Steps of one, two and four processes at the same time without MPI, each with a part of the batch. */
const alone = new Map<number, Measured>()
for (const size of [1, 2, 4]) {
  const part = { ...task, batchSize: task.batchSize / size }
  const all = await Promise.all(Array.from({ length: size }, () => measure(startAlone(part))))
  alone.set(size, all.toSorted((a, b) => a.step - b.step).at(-1)!)
}
const settings: Setting[] = []
const failures: Failure[] = []
for (const roundTrip of new Set(links.map((link) => link.roundTrip))) {
  const hosts = await createHosts(4, roundTrip)
  try {
    for (const launcher of launchers) {
      for (const link of links.filter((link) => link.roundTrip === roundTrip)) {
        hosts.setRate(link.rate)
        // MPICH waits without leaving the core to others: with more processes than cores a step takes minutes.
        for (const size of launcher === 'MPICH' ? [2] : [2, 4]) {
          const measured = await measure(launch(hosts, launcher, size, { ...task, gradients }))
          settings.push({ launcher, link, size, measured })
          console.error(`${launcher}, ${describeLink(link)}, ${size}: ${(1000 * measured.step).toFixed(0)} ms`)
        }
      }
      hosts.setRate(null)
      if (roundTrip === 0) failures.push(...(await observeFailures(hosts, launcher)))
    }
  } finally {
    hosts.remove()
  }
}
settings.sort((a, b) => launchers.indexOf(a.launcher) - launchers.indexOf(b.launcher))

const one = alone.get(1)!
const rows = settings.map(({ launcher, link, size, measured }) => {
  const predicted = predictStep(measured)
  const ring = link.rate && ringSeconds(size, stepBytes(measured), 1e6 * link.rate, link.roundTrip / 2, calls)
  const times = [measured.smallSum, measured.partialStep, ring, measured.sums, predicted, measured.step]
  const cells = times.map((seconds) => (seconds === null ? '' : milliseconds(seconds)))
  return `| ${[launcher, describeLink(link), size, ...cells, percent(predicted / measured.step - 1)].join(' | ')} |`
})
const errors = settings.map(({ measured }) => Math.abs(predictStep(measured) / measured.step - 1))
const text = `# Training on several machines: measured, predicted, projected

Written by \`npx tsx tools/scale-out/main.ts\`. Machines are network namespaces of one computer with ${cpus().length} cores, each
with its own name, address and ssh server. Links have the stated rate in each direction (tc's token bucket), and for the
stated round trips a program that delays every frame (tools/scale-out/delay.py). One process on each machine, with one thread. With more
processes than cores they share the cores.

An MLP of ${one.parameters.toLocaleString('en')} weights (256 inputs, two hidden layers of 1,024), AdamW, batch ${task.batchSize}: ${milliseconds(one.step)} ms in one
process; half of the batch in each of two that do not communicate ${milliseconds(alone.get(2)!.step)} ms, a quarter in each of four ${milliseconds(alone.get(4)!.step)} ms. A
step sends the gradients once, ${(stepBytes(one) / 1e6).toFixed(1)} MB, in ${calls} calls of MPI.

Predicted is the sum of two costs that are measured apart, in turns in the same job:

- a step without the sums of the gradients. The processes wait for each other as in a whole step, when they add up their losses;
- these sums alone: between steps, after a rest as long as a step.

The sums would take the time of "ring" if every byte were sent once at the full rate and every message took half a round trip; libraries choose
other algorithms, and confirm messages. The largest error of the prediction is ${percent(Math.max(...errors)).replace('+', '')}. Times are in milliseconds, medians of 15.

| MPI | link | processes | sum of one number | step without sums | ring | sums | predicted | step | error |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
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

function describeLink({ rate, roundTrip }: Link): string {
  if (rate === null) return 'this machine'
  return `${rate} Mbit/s${roundTrip > 0 ? `, round trip ${1000 * roundTrip} ms` : ''}`
}

function milliseconds(seconds: number): string {
  return (1000 * seconds).toPrecision(3)
}

function percent(share: number): string {
  return `${share < 0 ? '' : '+'}${(100 * share).toFixed(0)} %`
}
