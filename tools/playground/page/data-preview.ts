import type { ColumnKind, DataSummary, TablePreview } from '../protocol.js'
import { byId, createElement } from './dom.js'
import { createThumbnail } from './thumbnail.js'

/** Number of classes whose pictures are shown. */
const shownClasses = 24

const kinds: Readonly<Record<ColumnKind, string>> = {
  numbers: 'numbers',
  'incomplete numbers': 'numbers, some missing',
  texts: 'texts, not learned',
}

/** Names of the columns that are learned from, of a table whose class is in the column `label`. */
export const learnedColumns = ({ columns }: TablePreview, label: string): string[] =>
  columns.filter(({ name, kind }) => name !== label && kind !== 'texts').map(({ name }) => name)

/** Shows the first rows of a table, with what each column contains. */
export function showTable({ columns, rows }: TablePreview, label: string): void {
  const head = columns.map(({ name, kind }) =>
    createElement('th', { scope: 'col' }, name, createElement('small', {}, name === label ? 'class' : kinds[kind])),
  )
  const body = rows.map((row) =>
    createElement('tr', {}, ...columns.map((_, i) => createElement('td', {}, row[i] ?? ''))),
  )
  byId('csv-preview').replaceChildren(
    createElement('caption', {}, `The first ${rows.length === 1 ? 'row' : `${rows.length} rows`}`),
    createElement('thead', {}, createElement('tr', {}, ...head)),
    createElement('tbody', {}, ...body),
  )
}

/** Shows the first pictures of each class; nothing for data without them. */
export function showPictures(summary: DataSummary | null): void {
  const { classes = [], counts = [], pictures = [] }: Partial<DataSummary> = summary ?? {}
  const list = byId('data-pictures')
  list.hidden = pictures.length === 0
  list.replaceChildren(
    ...pictures.slice(0, shownClasses).map((own, i) => {
      const ariaLabel = `Pictures of the class ${classes[i]}`
      const row = createElement('div', { ariaLabel }, ...own.map(createThumbnail))
      row.setAttribute('role', 'img')
      const count = createElement('span', { className: 'count' }, String(counts[i]))
      return createElement('li', {}, createElement('strong', {}, classes[i]!), ' ', count, row)
    }),
  )
}
