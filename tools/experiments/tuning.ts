/** A candidate and its score; lower is better, null for a run that diverged. */
export interface Trial<Candidate> {
  readonly candidate: Candidate
  readonly score: number | null
}

export interface TuningResult<Candidate> {
  readonly best: Candidate
  readonly tried: readonly Trial<Candidate>[]
}

/** Finds the candidate with the lowest score; all candidates run concurrently. */
export async function tune<Candidate>(
  candidates: readonly Candidate[],
  score: (candidate: Candidate) => Promise<number | null>,
): Promise<TuningResult<Candidate>> {
  const tried = await Promise.all(candidates.map(async (candidate) => ({ candidate, score: await score(candidate) })))
  return { best: bestOf(tried), tried }
}

/**
 * Finds the best learning rate. The grid is ascending by factors of two and grows at the edge if the best rate is
 * there: a rate is tuned only if both of its neighbors are worse.
 * @param most largest number of rates to try
 */
export async function tuneRate(
  grid: readonly number[],
  score: (lr: number) => Promise<number | null>,
  most = 8,
): Promise<TuningResult<number>> {
  const { tried: first } = await tune(grid, score)
  const tried = [...first]
  while (tried.length < most) {
    const best = bestOf(tried)
    const next = best === tried[0]!.candidate ? best / 2 : best === tried.at(-1)!.candidate ? best * 2 : undefined
    if (next === undefined) break
    const one = { candidate: next, score: await score(next) }
    if (next < best) tried.unshift(one)
    else tried.push(one)
  }
  return { best: bestOf(tried), tried }
}

/** Tries one more rate: the geometric mean of the best rate and its better neighbor. */
export async function refineRate(
  { best, tried }: TuningResult<number>,
  score: (lr: number) => Promise<number | null>,
): Promise<TuningResult<number>> {
  const at = tried.findIndex(({ candidate }) => candidate === best)
  const neighbors = tried.filter((_, i) => Math.abs(i - at) === 1)
  if (neighbors.length === 0) return { best, tried }
  const between = Number(Math.sqrt(best * bestOf(neighbors)).toPrecision(3))
  const all = [...tried, { candidate: between, score: await score(between) }]
  return { best: bestOf(all), tried: all.sort((a, b) => a.candidate - b.candidate) }
}

function bestOf<Candidate>(tried: readonly Trial<Candidate>[]): Candidate {
  const value = ({ score }: Trial<Candidate>) => score ?? Number.POSITIVE_INFINITY
  return tried.reduce((best, each) => (value(each) < value(best) ? each : best)).candidate
}
