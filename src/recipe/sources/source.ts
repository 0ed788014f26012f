import { type JsonSchema, kinds } from '../../util/json-schema.js'
import { type CifarSource, cifar10Schema, cifar100Schema } from './cifar.js'
import { type CsvSource, csvSchema } from './csv.js'
import { type IdxSource, idxSchema } from './idx.js'
import { type ImageFolderSource, imageFolderSchema } from './image-folder.js'
import { type JsonlSource, jsonlSchema } from './jsonl.js'
import { type TextSource, textSchema } from './text.js'
import { type TokensSource, tokensSchema } from './tokens.js'

/** Where examples come from. Another kind of source is another member here, in the tables below and in `src/cli/data`. */
export type DataSource =
  | IdxSource
  | CifarSource
  | CsvSource
  | ImageFolderSource
  | JsonlSource
  | TextSource
  | TokensSource

export type SourceOf<Kind extends DataSource['kind']> = Extract<DataSource, { readonly kind: Kind }>

export const sourceSchema: JsonSchema = kinds(
  idxSchema,
  cifar10Schema,
  cifar100Schema,
  csvSchema,
  imageFolderSchema,
  jsonlSchema,
  textSchema,
  tokensSchema,
)

/** The fields that are paths, by kind of source. */
const pathFields = {
  idx: ['images', 'labels'],
  'cifar-10': ['folder'],
  'cifar-100': ['folder'],
  csv: ['file'],
  'image-folder': ['folder'],
  jsonl: ['file'],
  text: ['folder', 'files'],
  tokens: ['file'],
} as const satisfies { readonly [Kind in DataSource['kind']]: readonly (keyof SourceOf<Kind>)[] }

/** A source with every path in it passed through `f`. */
export function mapSourcePaths(source: DataSource, f: (path: string) => string): DataSource {
  const paths: readonly string[] = pathFields[source.kind]
  const entries = Object.entries(source).map(([field, value]: [string, unknown]) => {
    if (!paths.includes(field)) return [field, value]
    return [field, Array.isArray(value) ? value.map((path) => f(String(path))) : f(String(value))]
  })
  return Object.fromEntries(entries) as DataSource
}

/** What is wrong with a source although each of its fields is right. */
export function sourceFaults(place: string, source: DataSource): string[] {
  if (source.kind === 'idx') {
    return source.labels === undefined
      ? [`${place}.labels is missing: it must be the path of the IDX file with the labels`]
      : []
  }
  return source.kind === 'text' ? textFaults(place, source) : []
}

/** Also for sources without labels. */
export function textFaults(place: string, source: TextSource): string[] {
  const { folder, files, context, tokens } = source
  const given = (...fields: readonly (keyof TextSource)[]) => fields.filter((field) => source[field] !== undefined)
  if ((folder === undefined) === (files === undefined))
    return [
      `${place} has ${folder === undefined ? 'neither folder nor files' : 'both folder and files'}: give one of them`,
    ]
  const idle = [
    ...(folder === undefined ? given('classes', 'extensions') : given('context', 'stream', 'shuffleBuffer')),
    ...(context === undefined ? given('stride') : given('padding')),
    ...(tokens === undefined ? given('offset', 'padding', 'context') : []),
  ]
  return [...new Set(idle)].map((field) => `${place}.${field} is of no use here: ${reasons[field]}`)
}

const reasons: Partial<Record<keyof TextSource, string>> = {
  classes: 'lines have no classes; only a folder has',
  extensions: 'files are named one by one; only a folder is searched',
  context: 'it takes files whose tokens are bytes: "files": ..., "tokens": "bytes"',
  stream: 'the documents of a folder are read as they are needed',
  shuffleBuffer: 'the documents of a folder are read as they are needed',
  stride: 'it goes with context',
  padding: 'it fills up tokens of texts that differ in length',
  offset: 'it is added to bytes: "tokens": "bytes"',
}
