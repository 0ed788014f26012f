import { type Experiment, Interrupted, type Lab } from '../experiment.js'
import { fixed, table, withDeviation, withInterval } from '../markdown.js'
import { Pool } from '../pool.js'
import { computeSpread, pairedSpread } from '../statistics.js'
import type { Trial, TuningResult } from '../tuning.js'
import { baseNames, type Contender } from './bases.js'
import { createComparison, enhancements, losses, type Row, seedsOf, timed, tuningSeed } from './compare.js'
import { type Subject, type SubjectName, subjectNames, subjects } from './subjects.js'

export const optimizers: Experiment = {
  name: 'optimizers',
  about: 'fifteen base optimizers, each tuned, with and without IRE, on five subjects',
  duration: { small: '3 hours', full: '6 hours' },
  seeds: { small: 3, full: 5 },
  async run(lab) {
    const pool = new Pool()
    const sections = subjectNames.map((name) => ({
      name,
      compare: createComparison(name, lab, pool),
      rows: [] as Row[],
    }))
    try {
      for (const name of subjectNames) announce(lab, subjects[name])
      for (const base of baseNames) for (const { compare, rows } of sections) rows.push(await compare(base))
    } catch (error) {
      // Complete comparisons are reported nevertheless.
      if (!(error instanceof Interrupted) || sections.some(({ rows }) => rows.length === 0)) throw error
    } finally {
      await pool.dispose()
    }
    const missing = sections.flatMap(({ name, rows }) =>
      baseNames.slice(rows.length).map((base) => `${base} on ${name}`),
    )
    return {
      markdown: `Each base optimizer, and IRE over it, at its best settings. Learning rates are tuned by factors of two until both neighbors are worse; IRE over ${enhancements.length} settings with ${enhancements.map(({ share, kappa, gamma }) => `(${share} lr, kappa ${kappa}, gamma ${gamma})`).join(', ')}; both by the loss on held-out data with seed ${tuningSeed}, which is none of those compared. Clipped at norm 1, cosine to lr / 20 after a tenth of the steps as warm-up (Schedule-Free: its own warm-up), IRE after the warm-up with K 10. Test losses: mean and standard deviation over the seeds of each subject; differences are paired by seed, with 95 % intervals, and negative if IRE is better. Time: CPU time of a step in one thread, over ${timed.counted} steps after the first ${timed.skipped}.

## Effect of IRE on the test loss

${table(
  ['base', ...sections.map(({ name }) => name)],
  baseNames.slice(0, sections[0]!.rows.length).map((base, i) => [
    base,
    ...sections.map(({ rows }) => {
      const row = rows[i]
      return row ? withInterval(pairedSpread(losses(row.enhanced), losses(row.plain)), 4, true) : ''
    }),
  ]),
)}

${sections.map(({ name, rows }) => describeSection(name, rows, lab)).join('\n\n')}${missing.length > 0 ? `\n\nNot measured yet: ${missing.join(', ')}. The same command continues.` : ''}`,
      charts: {},
      summary: Object.fromEntries(
        sections.map(({ name, rows }) => [
          name,
          rows.map(({ base, plain, enhanced }) => ({ base, plain: losses(plain), enhanced: losses(enhanced) })),
        ]),
      ),
    }
  },
}

const announce = (lab: Lab, subject: Subject) =>
  lab.expect(
    subject.weight * subject.steps * baseNames.length * (4 + enhancements.length + 2 * seedsOf(subject, lab).length),
  )

function describeSection(name: SubjectName, rows: readonly Row[], lab: Lab): string {
  const subject: Subject = subjects[name]
  const [reference] = rows
  return `## ${name}: ${subject.about}

${subject.steps} steps of batch ${subject.batchSize}; AdamW's weight decay ${subject.weightDecay}; ${seedsOf(subject, lab).length} seeds.

${table(
  [
    'base',
    'lr',
    'test loss',
    'against AdamW',
    'IRE: lr, kappa, gamma',
    'with IRE',
    'difference by IRE',
    'ms per step',
    'with IRE',
  ],
  rows.map(({ base, rate, ire, plain, enhanced, plainTime, enhancedTime }) => [
    base,
    short(rate.best),
    withDeviation(computeSpread(losses(plain)), 4),
    plain === reference!.plain ? '' : withInterval(pairedSpread(losses(plain), losses(reference!.plain)), 4, true),
    describe(ire.best),
    withDeviation(computeSpread(losses(enhanced)), 4),
    withInterval(pairedSpread(losses(enhanced), losses(plain)), 4, true),
    plainTime.toFixed(1),
    `${enhancedTime.toFixed(1)} (${(enhancedTime / plainTime).toFixed(2)})`,
  ]),
)}

Controls, for AdamW and for bases that IRE changes beyond the interval; test loss against the base alone:

${table(
  ['base', ...reference!.controls.map((control) => control.name)],
  rows.flatMap(({ base, plain, controls }) =>
    controls.length === 0
      ? []
      : [
          [
            base,
            ...controls.map(({ outcomes }) => withInterval(pairedSpread(losses(outcomes), losses(plain)), 4, true)),
          ],
        ],
  ),
)}

Tuning: ${rows.map(({ base, rate, ire }) => `${base} ${trials(rate)}; with IRE ${trials(ire)}`).join('. ')}.`
}

const short = (lr: number) => String(Number(lr.toPrecision(3)))

const describe = ({ lr, kappa, gamma }: Contender) => `${short(lr)}, ${kappa}, ${gamma}`

const trials = ({ tried, best }: TuningResult<number> | TuningResult<Contender>): string =>
  (tried as readonly Trial<number | Contender>[])
    .map(({ candidate, score }) => {
      const label = typeof candidate === 'number' ? short(candidate) : `(${describe(candidate)})`
      const text = `${label}: ${score === null ? 'diverged' : fixed(4)(score)}`
      return candidate === best ? `**${text}**` : text
    })
    .join('; ')
