import { type Dataset, subset } from '../../data/dataset.js'
import { imageExtensions } from '../../data/image/image-files.js'
import type { DatasetOrStream } from '../../data/stream.js'
import { streamSubset } from '../../data/stream.js'
import type { DataSource } from '../../recipe/recipe.js'
import { hasImageFiles, type SourceOf, sourcePaths } from '../../recipe/sources/source.js'
import { withPath } from '../../util/errors.js'
import { openCifar } from './cifar.js'
import { openCsv } from './csv.js'
import type { OpenContext, OpenedSource } from './data-source.js'
import { listFiles } from './folders.js'
import { openIdx } from './idx.js'
import { openImageFolder } from './image-folder.js'
import { openImageMasks } from './image-masks.js'
import { openImageTexts } from './image-texts.js'
import { openJsonl } from './jsonl.js'
import { openText, textExtensions } from './text.js'
import { openTokens } from './tokens.js'

/**
 * The opener of each kind of data source. Another kind is another entry here and another schema in src/recipe/sources.
 */
const openers: {
  readonly [Kind in DataSource['kind']]: (source: SourceOf<Kind>, context: OpenContext) => Promise<OpenedSource>
} = {
  idx: openIdx,
  'cifar-10': openCifar,
  'cifar-100': openCifar,
  csv: openCsv,
  'image-folder': openImageFolder,
  'image-masks': openImageMasks,
  'image-texts': openImageTexts,
  jsonl: openJsonl,
  text: openText,
  tokens: openTokens,
}

/** Lists the files of data sources; those of a folder that the source would read. A missing folder has none. */
export async function listSourceFiles(...sources: readonly DataSource[]): Promise<string[]> {
  const lists = sources.flatMap((source) =>
    sourcePaths(source).map((path) => listFiles(path, extensionsOf(source)).catch(() => [path])),
  )
  return (await Promise.all(lists)).flat()
}

/** Extensions of the files that a source reads in its folder; undefined if it reads them by name. */
const extensionsOf = (source: DataSource): readonly string[] | undefined =>
  hasImageFiles(source) ? imageExtensions : source.kind === 'text' ? (source.extensions ?? textExtensions) : undefined

/**
 * Opens a data source of a recipe, restricted to its examples from `start` to `end`.
 * @param path the field of the source in the recipe, for messages
 */
export async function openData(path: string, source: DataSource, context: OpenContext): Promise<OpenedSource> {
  return withPath(path, async () => {
    // TypeScript cannot relate the kind of the source to the parameter of its opener.
    const open = openers[source.kind] as (source: DataSource, context: OpenContext) => Promise<OpenedSource>
    return restrict(await open(source, context), source)
  })
}

function restrict(opened: OpenedSource, { start = 0, end }: DataSource): OpenedSource {
  if (start === 0 && end === undefined) return opened
  const range = { start, ...(end === undefined ? {} : { end }) }
  const part = (data: DatasetOrStream) => ('batch' in data ? fitRange(data, range) : streamSubset(data, start, end))
  const { data, labels, files } = opened
  return {
    ...opened,
    data: part(data),
    ...(labels ? { labels: part(labels) } : {}),
    ...(files ? { files: files.slice(start, end) } : {}),
  }
}

/** The examples from `start` to `end`, with statistics of these. */
function fitRange(data: Dataset, range: { readonly start: number; readonly end?: number }): Dataset {
  const { length, fitTo } = subset(data, range)
  return fitTo?.(Uint32Array.from({ length }, (_, i) => i)) ?? subset(data, range)
}
