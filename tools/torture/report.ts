import type { CampaignName } from './campaigns.js'
import { clip } from './judge.js'
import type { Reply } from './pool.js'

/** Faults of one cause. */
interface FaultGroup {
  readonly cause: string
  count: number
  /** The case that replays the fault: `<campaign>:<seed>`. */
  readonly replay: string
  title: string
  readonly detail: string
  /** The file of the case in base64, if it is short, or the path where it is kept. */
  file?: string
}

/** Results of a campaign so far. */
interface Tally {
  cases: number
  seconds: number
  /** Number of cases by how they ended: 'accepted', or the code of a typed error. */
  readonly ended: Record<string, number>
}

/** Faults of dependencies, which cannot be fixed here: they are reported, but do not fail the run. */
const known: readonly { readonly cause: RegExp; readonly reason: string }[] = [
  {
    cause: /^over .*, data, stage read parquet/,
    reason: 'hyparquet 1.33 and before writes run lengths of damaged pages beyond the number of values of the page',
  },
]

const reasonOf = (cause: string): string | undefined => known.find((each) => each.cause.test(cause))?.reason

/** Counts outcomes, and faults by cause. */
export class Report {
  readonly tallies = new Map<CampaignName, Tally>()
  readonly groups = new Map<string, FaultGroup>()

  tally(campaign: CampaignName): Tally {
    const found = this.tallies.get(campaign) ?? {
      cases: 0,
      seconds: 0,
      ended: Object.create(null) as Record<string, number>,
    }
    this.tallies.set(campaign, found)
    return found
  }

  /** Adds the outcome of a case. Returns the causes that are new. */
  add(campaign: CampaignName, seed: number, { ended, faults, title }: Reply): readonly string[] {
    const tally = this.tally(campaign)
    tally.cases++
    const how = faults.length > 0 ? 'fault' : ended
    tally.ended[how] = (tally.ended[how] ?? 0) + 1
    const fresh: string[] = []
    for (const cause of new Set(faults.map((fault) => fault.cause))) {
      const group = this.groups.get(cause)
      if (group) group.count++
      else {
        fresh.push(cause)
        const { detail } = faults.find((fault) => fault.cause === cause)!
        this.groups.set(cause, { cause, count: 1, replay: `${campaign}:${seed}`, title, detail })
      }
    }
    return fresh
  }

  get hasFaults(): boolean {
    return [...this.groups.keys()].some((cause) => reasonOf(cause) === undefined)
  }

  toJson(): object {
    return { campaigns: Object.fromEntries(this.tallies), faults: [...this.groups.values()] }
  }

  toText(): string {
    const rows = [...this.tallies].map(
      ([name, { cases, seconds, ended }]) => `| ${name} | ${cases} | ${seconds.toFixed(0)} | ${endings(ended)} |`,
    )
    const groups = [...this.groups.values()].sort((a, b) => b.count - a.count)
    return [
      '| campaign | cases | seconds | endings |',
      '|---|---|---|---|',
      ...rows,
      '',
      groups.length === 0 ? 'No faults.' : `${groups.length} ${groups.length === 1 ? 'cause' : 'causes'} of faults:`,
      ...groups.map(formatGroup),
    ].join('\n')
  }
}

const endings = (ended: Readonly<Record<string, number>>): string =>
  Object.entries(ended)
    .sort(([, a], [, b]) => b - a)
    .map(([how, count]) => `${how} ${count}`)
    .join(', ')

const formatGroup = ({ cause, count, replay, title, detail, file }: FaultGroup): string =>
  [
    '',
    `${count} x ${cause}${reasonOf(cause) === undefined ? '' : ` (does not count: ${reasonOf(cause)})`}`,
    `  first in ${clip(title)}; replay: npm run torture -- --replay ${replay}`,
    ...(detail === '' ? [] : [`  ${clip(detail)}`]),
    ...(file === undefined ? [] : [`  file: ${file}`]),
  ].join('\n')
