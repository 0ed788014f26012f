import { ire, type Optimizer, sam, sgd } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { plotCurves } from 'onnx-ire/node'
import type { Experiment, Lab, Settings } from '../experiment.js'
import { table, withInterval } from '../markdown.js'
import { computeSpread } from '../statistics.js'
import { descend } from './descend.js'

/** gamma 0 with two coordinates: only u, which has less curvature, is flat: half of the coordinates. */
const flatU = { gamma: 0, interval: 1, curvature: 'empirical' } as const
const flatShare = 1 / 2

/** The start is that of the figure for seed 0, and within 2 % of it for other seeds. */
function start(u: number, v: number, seed: number): [number, number] {
  const random = new Random(seed).stream('start')
  const factor = () => (seed === 0 ? 1 : 1 + 0.02 * (2 * random.uniform() - 1))
  return [u * factor(), v * factor()]
}

interface End {
  readonly u: number
  readonly steps: number
  readonly divergedAt: number | null
  /** Steps and u of seed 0, for the chart. */
  readonly path: readonly (readonly [step: number, u: number])[]
}

interface Row {
  readonly name: string
  readonly ends: readonly End[]
}

type Make = (lr: number, kappa: number) => Optimizer

const figure = { from: [1, 0.01], steps: 400, lr: 1 } as const
const drift = { from: [2, 0.5], steps: 5000, lr: 0.3, rho: 0.05, goal: 0.1 } as const

const descent: Make = (lr, kappa) => (kappa === 0 ? sgd({ lr }) : ire(sgd({ lr }), { kappa, ...flatU }))
const ascending: Make = (lr, kappa) => {
  const base = sam(sgd({ lr }), { rho: drift.rho })
  return kappa === 0 ? base : ire(base, { kappa, ...flatU })
}

/** Whether a run is in the flat part of the valley and no farther from its bottom than at the start. */
const arrived = (u: number, v: number) => Math.abs(u) < drift.goal && Math.abs(v) <= drift.from[1]

/** A row of the table: one run per seed. */
async function row(lab: Lab, name: string, settings: Settings, run: (seed: number) => End): Promise<Row> {
  const ends: End[] = []
  for (const seed of lab.seeds) ends.push(await lab.measure({ ...settings, seed }, 1, () => run(seed)))
  return { name, ends }
}

function fromEdge(lab: Lab, name: string, lr: number, kappa: number): Promise<Row> {
  return row(lab, name, { part: 'figure', lr, kappa, steps: figure.steps, from: figure.from }, (seed) => {
    const { u, divergedAt } = descend(descent(lr, kappa), start(...figure.from, seed), figure.steps)
    return { u: round(u.at(-1)!), steps: u.length - 1, divergedAt, path: pathOf(u, seed) }
  })
}

function withSam(lab: Lab, name: string, lr: number, kappa: number): Promise<Row> {
  const { steps, goal, from, rho } = drift
  return row(lab, name, { part: 'sam', lr, kappa, rho, steps, goal, from }, (seed) => {
    const { u, divergedAt } = descend(ascending(lr, kappa), start(...from, seed), steps, arrived)
    return { u: round(u.at(-1)!), steps: u.length - 1, divergedAt, path: pathOf(u, seed) }
  })
}

/** Steps shown in the chart: every step at first, then steps 4 % apart. */
function pathOf(u: readonly number[], seed: number): [number, number][] {
  if (seed !== 0) return []
  const path: [number, number][] = []
  for (let t = 0; t < u.length; t += Math.max(1, Math.floor(t / 25))) path.push([t, round(u[t]!)])
  return path
}

const round = (x: number): number => Number(x.toPrecision(5))

export const landscape: Experiment = {
  name: 'landscape',
  about: 'the valley L(u, v) = (1 + u²) v² / 2',
  duration: { small: '5 s', full: '10 s' },
  seeds: { small: 3, full: 5 },
  async run(lab) {
    const rates = [0.25, 0.5, 1, 1.25, 1.5, 1.75, 2]
    const tuned: Row[] = []
    for (const lr of rates) tuned.push(await fromEdge(lab, `gradient descent, lr ${lr}`, lr, 0))

    const enhanced: Row[] = []
    for (const kappa of [90, 900, 9000, 25000])
      enhanced.push(await fromEdge(lab, `IRE, lr 1, kappa ${kappa}`, figure.lr, kappa))
    const larger: Row[] = []
    for (const kappa of [90, 900, 9000])
      for (const [name, factor] of controls(kappa))
        larger.push(await fromEdge(lab, `gradient descent, lr 1 x ${name}`, figure.lr * factor, 0))

    const sams: Row[] = []
    for (const kappa of [0, 1, 5, 20])
      sams.push(await withSam(lab, kappa === 0 ? 'SAM, lr 0.3' : `SAM-IRE, lr 0.3, kappa ${kappa}`, drift.lr, kappa))
    for (const kappa of [1, 5, 20])
      for (const [name, factor] of controls(kappa))
        sams.push(await withSam(lab, `SAM, lr 0.3 x ${name}`, drift.lr * factor, 0))

    const all = [...tuned, ...enhanced, ...larger]
    return {
      markdown: `The minima are v = 0; their sharpness is 1 + u², so (0, 0) is the flattest. IRE enlarges the step in u alone (gamma 0 of two coordinates). Starts are those given for seed 0 and within 2 % of them for the other seeds; means over ${lab.seeds.length} seeds with 95 % intervals. A run has diverged once |v| > ${10}.

## Gradient descent from (1, 0.01), ${figure.steps} steps

lr 1 is the edge of stability at u = 1, lr (1 + u²) = 2. The smaller |u|, the flatter.

${table(['', 'u at the end', 'of seed 0', 'diverged at step'], all.map(figureRow))}

![u along the run](valley.svg)

IRE's controls, lr x (1 + kappa) and lr x (1 + kappa / 2), half of the coordinates being flat, diverge at once. A learning rate only a little above the edge does not: v grows until it has thrown u to where lr (1 + u²) < 2, and the run settles in a flatter place. So here a well-chosen learning rate reaches the flat end too, in a window between 1 and 1.75; IRE gets there at the edge itself, over two decades of kappa, without v growing.

## SAM from (2, 0.5), rho ${drift.rho}: steps until |u| < ${drift.goal}

And until |v| is at most what it was at the start: a leap over the goal is not an arrival.

${table(['', 'steps', 'u at the end', 'diverged at step'], sams.map(samRow))}

![u along the run, with SAM](sam.svg)

SAM's drift gets shorter as 1 / (1 + kappa), until steps in u become jumps (kappa 20). Of the larger learning rates, lr x 1.5 shortens it about as kappa 1 does, lr x 2 is thrown across in a few steps, and beyond that v leaves the valley, as it does not with IRE.
`,
      charts: {
        valley: await chartOf(
          [tuned[2]!, tuned[4]!, ...enhanced.slice(0, 3)],
          'Towards the flat end of the valley, from (1, 0.01)',
        ),
        sam: await chartOf(sams.slice(0, 4), 'The same with SAM, from (2, 0.5)'),
      },
      summary: { figure: all.map(brief), sam: sams.map(brief) },
    }
  },
}

/** The two larger learning rates to which IRE might be equivalent. */
const controls = (kappa: number) =>
  [
    [`(1 + ${kappa})`, 1 + kappa],
    [`(1 + ${kappa} / 2)`, 1 + kappa * flatShare],
  ] as const

const stable = ({ ends }: Row) => ends.filter(({ divergedAt }) => divergedAt === null)

function diverged({ ends }: Row): string {
  const steps = ends.flatMap(({ divergedAt }) => (divergedAt === null ? [] : [divergedAt]))
  return steps.length === 0 ? '' : steps.join(', ')
}

function figureRow(row: Row): string[] {
  const kept = stable(row)
  const [first] = row.ends
  return [
    row.name,
    kept.length === 0 ? '' : withInterval(computeSpread(kept.map(({ u }) => u)), 4),
    first!.divergedAt === null ? first!.u.toFixed(4) : '',
    diverged(row),
  ]
}

function samRow(row: Row): string[] {
  const kept = stable(row)
  if (kept.length === 0) return [row.name, '', '', diverged(row)]
  const arrived = kept.every(({ u }) => Math.abs(u) < drift.goal)
  const steps = arrived ? withInterval(computeSpread(kept.map((end) => end.steps)), 0) : `not in ${drift.steps}`
  return [row.name, steps, withInterval(computeSpread(kept.map(({ u }) => u)), 3), diverged(row)]
}

const brief = ({ name, ends }: Row) => ({
  name,
  u: ends.map(({ u }) => u),
  steps: ends.map(({ steps }) => steps),
  divergedAt: ends.map(({ divergedAt }) => divergedAt),
})

const chartOf = (rows: readonly Row[], title: string): Promise<string> =>
  plotCurves(
    rows.map(({ name, ends: [first] }) => ({ name, points: first!.path.map(([t, u]) => [t + 1, u] as const) })),
    { title, x: 'step + 1', y: 'u', logX: true },
  )
