/**
 * A fenced code block of a page, and the text after its opening fence: 'ts', or
 * 'ts src/op/definitions/activation.ts'.
 */
interface Block {
  readonly mark: string
  readonly code: string
}

/** Returns the fenced code blocks of a page in a language. */
export const blocksOf = (page: string, language: string): readonly Block[] =>
  [...page.matchAll(/^```([^\n]*)\n([\s\S]*?)^```$/gm)]
    .map(([, mark, code]) => ({ mark: mark!.trim(), code: code! }))
    .filter(({ mark }) => mark.split(' ')[0] === language)

/**
 * Joins the blocks of a guide marked 'ts' into its program. Blocks marked 'ts <file>' quote that file and are not part
 * of the program. The values in `settings` replace those of constants that the guide defines at the beginning of a
 * line, such as `const epochs = 8`; throws if such a definition does not occur exactly once.
 */
export function programOf(page: string, settings: Readonly<Record<string, number>>): string {
  const blocks = blocksOf(page, 'ts').filter(({ mark }) => mark === 'ts')
  return withSettings(blocks.map(({ code }) => code).join('\n'), settings)
}

/** Replaces the values of constants that a program defines at the beginning of a line, each exactly once. */
export function withSettings(given: string, settings: Readonly<Record<string, number>>): string {
  let program = given
  for (const [name, value] of Object.entries(settings)) {
    const places = new RegExp(`^const ${name} = [\\d_.e-]+$`, 'gm')
    const found = program.match(places)?.length ?? 0
    if (found !== 1) throw new Error(`the program sets '${name}' ${found} times, not once`)
    program = program.replace(places, `const ${name} = ${value}`)
  }
  return program
}

/** The numbers in the output of a program: the first group of every match. */
export const numbersIn = (printed: string, pattern: RegExp): number[] =>
  [...printed.matchAll(pattern)].map(([, number]) => Number(number))
