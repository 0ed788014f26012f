import { type JsonSchema, kinds } from '../../util/json-schema.js'
import {
  type CifarSource,
  cifar10Schema,
  cifar100Schema,
  type IdxSource,
  type ImageFolderSource,
  type ImageMasksSource,
  type ImageTextsSource,
  idxSchema,
  imageFolderSchema,
  imageMasksSchema,
  imageTextsSchema,
} from './images.js'
import { type CsvSource, csvSchema, type JsonlSource, jsonlSchema } from './tables.js'
import { type TextSource, type TokensSource, textSchema, tokensSchema } from './text.js'

/** Source of examples. A new kind is added here, to the tables below, and in `src/node/data`. */
export type DataSource =
  | IdxSource
  | CifarSource
  | CsvSource
  | ImageFolderSource
  | ImageMasksSource
  | ImageTextsSource
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
  imageMasksSchema,
  imageTextsSchema,
  jsonlSchema,
  textSchema,
  tokensSchema,
)

/** Fields that are paths, by kind of source. */
const pathFields = {
  idx: ['images', 'labels'],
  'cifar-10': ['folder'],
  'cifar-100': ['folder'],
  csv: ['file'],
  'image-folder': ['folder'],
  'image-masks': ['images', 'masks'],
  'image-texts': ['file', 'folder', 'dictionary'],
  jsonl: ['file'],
  text: ['folder', 'files'],
  tokens: ['file'],
} as const satisfies { readonly [Kind in DataSource['kind']]: readonly (keyof SourceOf<Kind>)[] }

/** Source whose examples are image files. */
export type ImageFilesSource = ImageFolderSource | ImageMasksSource | ImageTextsSource

/** Whether every example of a source is an image file. */
export const hasImageFiles = (source: DataSource): source is ImageFilesSource =>
  source.kind === 'image-folder' || source.kind === 'image-masks' || source.kind === 'image-texts'

/** Paths of the files or the folder of a source, each with its field. */
export function sourceFields(source: DataSource): (readonly [field: string, path: string])[] {
  const fields: readonly string[] = pathFields[source.kind]
  return Object.entries(source).flatMap(([field, value]: [string, unknown]) =>
    fields.includes(field) ? [value].flat().map((path) => [field, String(path)] as const) : [],
  )
}

/** Paths of the files or the folder of a source. */
export const sourcePaths = (source: DataSource): string[] => sourceFields(source).map(([, path]) => path)

/** Maps every path of a source by `f`. */
export function mapSourcePaths(source: DataSource, f: (path: string) => string): DataSource {
  const paths: readonly string[] = pathFields[source.kind]
  const entries = Object.entries(source).map(([field, value]: [string, unknown]) => {
    if (!paths.includes(field)) return [field, value]
    return [field, Array.isArray(value) ? value.map((path) => f(String(path))) : f(String(value))]
  })
  return Object.fromEntries(entries) as DataSource
}

/** Finds problems across the fields of a source whose single fields are valid. */
export function findSourceProblems(place: string, source: DataSource): string[] {
  if (source.kind === 'idx') {
    return source.labels === undefined
      ? [`${place}.labels is missing: it must be the path of the IDX file with the labels`]
      : []
  }
  if (source.kind === 'image-masks' && source.masks === undefined)
    return [`${place}.masks is missing: it must be the path of the folder with the masks`]
  return source.kind === 'text' ? findTextProblems(place, source) : []
}

/** Finds problems across the fields of a text source, with or without labels. */
export function findTextProblems(place: string, source: TextSource): string[] {
  const { folder, files, context, tokens } = source
  const given = (...fields: readonly (keyof TextSource)[]) => fields.filter((field) => source[field] !== undefined)
  if ((folder === undefined) === (files === undefined))
    return [
      `${place} has ${folder === undefined ? 'neither folder nor files' : 'both folder and files'}: give one of them`,
    ]
  const unused = [
    ...(folder === undefined ? given('classes', 'extensions') : given('context', 'stream', 'shuffleBuffer')),
    ...(context === undefined ? given('stride') : given('padding')),
    ...(tokens === undefined ? given('offset', 'padding', 'context') : []),
  ]
  return [...new Set(unused)].map((field) => `${place}.${field} has no effect: ${reasons[field]}`)
}

const reasons: Partial<Record<keyof TextSource, string>> = {
  classes: 'only a folder has classes, lines have none',
  extensions: 'only a folder is searched by extension',
  context: 'it requires files with tokens: "files": ..., "tokens": "bytes"',
  stream: 'the documents of a folder are always read on demand',
  shuffleBuffer: 'the documents of a folder are always read on demand',
  stride: 'it requires context',
  padding: 'it applies to texts as tokens, without context',
  offset: 'it requires "tokens": "bytes"',
}
