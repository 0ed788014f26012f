/** Returns the name, or the name followed by a number if it is taken, and adds the result to the taken names. */
export function claimName(wanted: string, taken: Set<string>): string {
  let name = wanted
  for (let n = 1; taken.has(name); n++) name = `${wanted}_${n}`
  taken.add(name)
  return name
}
