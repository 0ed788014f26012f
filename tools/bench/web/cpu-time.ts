import { readdirSync, readFileSync } from 'node:fs'

/** CPU time of all processes that this one started, in seconds; Linux counts it in hundredths. */
export function cpuTimeOfChildren(): number {
  const parents = new Map<number, number>()
  const seconds = new Map<number, number>()
  for (const id of readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)) {
    const text = statOf(id)
    if (text === undefined) continue
    // Behind the name, which may contain spaces: state, parent, ...; user and system time are 11 and 12 places further.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    parents.set(id, Number(fields[1]))
    seconds.set(id, (Number(fields[11]) + Number(fields[12])) / 100)
  }
  const isChild = (id: number): boolean => {
    const parent = parents.get(id)
    return parent === process.pid || (parent !== undefined && parent > 1 && isChild(parent))
  }
  return [...seconds].reduce((sum, [id, time]) => (isChild(id) ? sum + time : sum), 0)
}

/** The line of a process, unless it has ended. */
function statOf(id: number): string | undefined {
  try {
    return readFileSync(`/proc/${id}/stat`, 'utf8')
  } catch {
    return undefined
  }
}
