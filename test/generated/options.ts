import { type LossKind, lossRegistry } from '../../src/loss/registry.js'
import { metricRegistry } from '../../src/metric/registry.js'
import { describeAllowed } from '../../src/recipe/format-errors.js'
import { recipeSchema } from '../../src/recipe/schema.js'
import type { JsonSchema } from '../../src/util/json-schema.js'
import { type DeclaredOption, packageEntries } from './declared-options.js'
import { optionAdvice } from './option-advice.js'

/** Content of docs/options.md: options from their doc comments, recipe fields from the schema. */
export function optionsDocument(): string {
  const entries = packageEntries()
  return `${[
    '# Options',
    'Every option, its default and its meaning. `npm run generate` writes this page from the doc comments of the interfaces and from the schema of recipes.',
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
    '## Recipes',
    'Fields of a recipe, and the values they allow.',
    table(
      ['field', 'required', 'value'],
      Object.entries(recipeSchema.properties ?? {}).map(([field, schema]) => [
        `\`${field}\``,
        recipeSchema.required?.includes(field) ? 'yes' : '',
        describeAllowed(schema),
      ]),
    ),
    '### Losses',
    table(
      ['kind', 'options'],
      (Object.keys(lossRegistry) as LossKind[]).map((kind) => [`\`${kind}\``, names(lossRegistry[kind].options)]),
    ),
    '`combine` adds up several losses: `{ "kind": "combine", "tasks": { "<name>": { "loss": { "kind": ... }, "weight": 1 } } }`.',
    '### Metrics',
    table(
      ['kind', 'options', 'names with other options'],
      Object.entries(metricRegistry).map(([kind, entry]) => [
        `\`${kind}\``,
        names(entry.options),
        names((entry as { variants?: object }).variants ?? {}),
      ]),
    ),
    '### Optimizers',
    table(['kind', 'options'], kindsOf(recipeSchema.properties?.['optimizer'])),
    '### Schedules',
    table(['kind', 'options'], kindsOf(recipeSchema.properties?.['schedule'])),
    '### Data sources',
    table(['kind', 'options'], kindsOf(recipeSchema.properties?.['data']?.properties?.['train'])),
  ].join('\n\n')}\n`
}

/** Options that functions declare in their own signature. */
const singleOptions = [
  ['`split`', '`validation`, `seed`', 'required'],
  ['`oversample`', '`seed`', '0'],
  ['`withSampleWeights`', '`name`', "`'weight'`"],
  ['`fromExamples`', '`padding`', ''],
  ['`streamLines`', '`text`, `shuffleBuffer`', "`'text'`, 1024"],
  ['`streamParquet`', '`column`, `text`, `shuffleBuffer`', "required, `'text'`, 1024"],
  ['`randomFlip`', '`probability`', '0.5'],
  ['`trainer.evaluate`, `trainer.export`', '`weights`', "`'last'`"],
] as const

const names = (fields: object): string =>
  Object.keys(fields)
    .filter((field) => field !== 'kind')
    .map((field) => `\`${field}\``)
    .join(', ')

const kindsOf = (schema: JsonSchema | undefined): string[][] =>
  (schema?.oneOf ?? []).map(({ properties = {} }) => [`\`${properties['kind']?.const}\``, names(properties)])

/** Literal value of a default. */
const literal = /^(?:'[^']*'|\[[^\]]*\]|-?\d[\w./-]*|true|false)/

/** Sentence of a doc comment that gives the default: 'Default 0.1.', 'Default: the only output.' */
const defaultSentence = /(?:^|(?<=[.;,] ))[Dd]efault:? (.+?)(?:\.(?= [A-Z]|$)|$)/

function row(owner: string, { name, required, comment }: DeclaredOption): string[] {
  const given = defaultSentence.exec(comment)
  const value = required ? 'required' : given ? given[1]!.replace(literal, '`$&`') : ''
  const meaning = given
    ? comment
        .replace(given[0], '')
        .replace(/\s{2,}/g, ' ')
        .trim()
    : comment
  const advice = optionAdvice[`${owner}.${name}`]
  return [`\`${name}\``, value, [meaning, advice].filter(Boolean).join(' ')]
}

const cell = (text: string): string => text.replaceAll('|', '\\|')

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.map(cell).join(' | ')} |`).join('\n')
