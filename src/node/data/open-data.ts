import { subset } from '../../data/dataset.js'
import { streamSubset } from '../../data/split-stream.js'
import type { DatasetOrStream } from '../../data/stream.js'
import type { DataSource } from '../../recipe/recipe.js'
import type { SourceOf } from '../../recipe/sources/source.js'
import { withPath } from '../../util/with-path.js'
import { openCifar } from './cifar.js'
import { openCsv } from './csv.js'
import type { OpenContext, OpenedSource } from './data-source.js'
import { openIdx } from './idx.js'
import { openImageFolder } from './image-folder.js'
import { openJsonl } from './jsonl.js'
import { openText } from './text.js'
import { openTokens } from './tokens.js'

/** How each kind of source is opened. */
const openers: {
  readonly [Kind in DataSource['kind']]: (source: SourceOf<Kind>, opening: OpenContext) => Promise<OpenedSource>
} = {
  idx: openIdx,
  'cifar-10': openCifar,
  'cifar-100': openCifar,
  csv: openCsv,
  'image-folder': openImageFolder,
  jsonl: openJsonl,
  text: openText,
  tokens: openTokens,
}

/**
 * Opens a recipe's source of examples.
 * @param place the source's path in the recipe, for messages
 */
export async function openData(place: string, source: DataSource, opening: OpenContext): Promise<OpenedSource> {
  return withPath(place, async () => {
    // The kind ties the opener to its source; the compiler does not follow that through a table.
    const open = openers[source.kind] as (source: DataSource, opening: OpenContext) => Promise<OpenedSource>
    return partOf(await open(source, opening), source)
  })
}

function partOf(opened: OpenedSource, { start = 0, end }: DataSource): OpenedSource {
  if (start === 0 && end === undefined) return opened
  const part = (data: DatasetOrStream) =>
    'batch' in data ? subset(data, range(start, end)) : streamSubset(data, start, end)
  const { data, labels, files } = opened
  return {
    ...opened,
    data: part(data),
    ...(labels ? { labels: part(labels) } : {}),
    ...(files ? { files: files.slice(start, end) } : {}),
  }
}

const range = (start: number, end: number | undefined) => ({ start, ...(end === undefined ? {} : { end }) })
