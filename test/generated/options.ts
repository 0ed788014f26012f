import { type DeclaredOption, packageEntries } from './declared-options.js'
import { optionAdvice } from './option-advice.js'

/** Content of docs/options.md: options from their doc comments. */
export function optionsDocument(): string {
  const entries = packageEntries()
  return `${[
    '# Options',
    'Every option, its default and its meaning. `npm run generate` writes this page from the doc comments of the interfaces.',
    'Misspelled options are errors wherever options are read by name.',
    ...entries.flatMap(({ name, interfaces }) => [
      `## ${name}`,
      ...interfaces
        .filter(({ options, parents }) => options.length + parents.length > 0)
        .flatMap(({ name, summary, parents, options }) => [
          `### ${name}`,
          [
            summary,
            parents.length > 0 ? `Includes the options of ${parents.map((each) => `\`${each}\``).join(' and ')}.` : '',
          ]
            .filter(Boolean)
            .join(' '),
          ...(options.length === 0
            ? []
            : [
                table(
                  ['option', 'default', 'meaning'],
                  options.map((each) => row(name, each)),
                ),
              ]),
        ]),
    ]),
    '## Options of single functions',
    table(
      ['function', 'option', 'default'],
      singleOptions.map((cells) => [...cells]),
    ),
    'Recipes have [a page of their own](recipe.md).',
  ].join('\n\n')}\n`
}

/** Options that functions declare in their own signature. */
const singleOptions = [
  ['`oversample`', '`seed`', '0'],
  ['`withSampleWeights`', '`name`', "`'weight'`"],
  ['`fromExamples`', '`padding`', ''],
  ['`streamLines`', '`text`, `shuffleBuffer`', "`'text'`, 1024"],
  ['`streamParquet`', '`column`, `text`, `shuffleBuffer`', "required, `'text'`, 1024"],
  ['`randomFlip`', '`probability`', '0.5'],
  ['`trainer.evaluate`, `trainer.export`', '`weights`', "`'last'`"],
] as const

/** Literal value of a default. */
const literal = /^(?:'[^']*'|\[[^\]]*\]|-?\d[\w./-]*|true|false)/

/** Sentence of a doc comment that gives the default: 'Default 0.1.', 'Default: the only output.' */
const defaultSentence = /(?:^|(?<=[.;,] ))[Dd]efault:? (.+?)(?:\.(?= [A-Z]|$)|$)/

function row(owner: string, option: DeclaredOption): string[] {
  return [`\`${option.name}\``, ...describeOption(owner, option)]
}

/** Value that a doc comment marks as the default: `'fill' (default)`. */
const markedDefault = /`?('[^']*'|all-linear)`? ?(?:\((?:the )?default|, default\)|: [^:]*\(the default\))/

/** Default and meaning of an option. */
export function describeOption(owner: string, { name, required, comment }: DeclaredOption): [string, string] {
  const given = defaultSentence.exec(comment)
  const marked = markedDefault.exec(comment)?.[1]
  const value = required ? 'required' : given ? given[1]!.replace(literal, '`$&`') : marked ? `\`${marked}\`` : ''
  const before = given && comment.slice(0, given.index).trim().replace(/[;,]$/, '.')
  const meaning = given
    ? [before, comment.slice(given.index + given[0].length).trim()].filter(Boolean).join(' ')
    : comment
  const advice = optionAdvice[`${owner}.${name}`]
  return [value, [meaning, advice].filter(Boolean).join(' ')]
}

const cell = (text: string): string => text.replaceAll('|', '\\|')

/** Writes a table in Markdown. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.map(cell).join(' | ')} |`).join('\n')
