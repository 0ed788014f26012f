/** What stands in a fenced block of a page, and what it is marked with behind the fence: 'ts', or 'ts src/op/activation.ts'. */
export interface Block {
  readonly mark: string
  readonly code: string
}

/** The fenced blocks of a page whose mark begins with `language`. */
export const blocksOf = (page: string, language: string): readonly Block[] =>
  [...page.matchAll(/^```([^\n]*)\n([\s\S]*?)^```$/gm)]
    .map(([, mark, code]) => ({ mark: mark!.trim(), code: code! }))
    .filter(({ mark }) => mark.split(' ')[0] === language)

/**
 * The program a guide is: its blocks marked 'ts', one after the other. Blocks marked 'ts <file>' quote that file and are no
 * part of it. A constant of `settings` takes the place of the number the guide gives it at the beginning of a line,
 * `const epochs = 8`; one that is not there exactly once is an error.
 */
export function programOf(page: string, settings: Readonly<Record<string, number>>): string {
  let program = blocksOf(page, 'ts')
    .filter(({ mark }) => mark === 'ts')
    .map(({ code }) => code)
    .join('\n')
  for (const [name, value] of Object.entries(settings)) {
    const places = new RegExp(`^const ${name} = [\\d_.e-]+$`, 'gm')
    const found = program.match(places)?.length ?? 0
    if (found !== 1) throw new Error(`the guide sets '${name}' ${found} times, not once`)
    program = program.replace(places, `const ${name} = ${value}`)
  }
  return program
}
