import { OnnxIreError } from '../../util/errors.js'
import { create, edit } from './message.js'
import type { StringStringEntryProto, TensorProto } from './schema.js'

/** Where the bytes of external tensors come from. */
export interface ExternalData {
  /**
   * `length` bytes of a file from `offset` on, to its end when no length is given. `location` is relative to the model's
   * folder. Throws `external-data` when the file is missing, too short or outside of that folder.
   */
  read(location: string, offset: number, length: number | undefined): Uint8Array
}

/** Where one tensor's bytes lie: the entries of TensorProto.external_data. */
export interface ExternalRange {
  readonly location: string
  readonly offset: number
  readonly length: number | undefined
}

/** TensorProto.DataLocation.EXTERNAL */
const external = 1

export const isExternal = (proto: TensorProto): boolean => proto.dataLocation === external

/**
 * Throws `external-data` unless `location` is a relative path that stays within the model's folder as far as its text
 * tells, on POSIX and on Windows; whoever opens the file has to look at links.
 */
export function checkLocation(location: string): void {
  const reason = describeRejection(location)
  if (reason) throw new OnnxIreError('external-data', `external data ${reason}`)
}

function describeRejection(location: string): string | null {
  const fault = findPathFault(location)
  const rule = "paths must be relative and stay within the model's folder"
  return fault && `${JSON.stringify(location)}, which is refused: ${fault}, but ${rule}`
}

function findPathFault(location: string): string | null {
  if (location === '') return 'the path is missing'
  if (location.includes('\0')) return 'the path contains a zero byte'
  if (/^[/\\]/.test(location)) return 'the path is absolute'
  if (/^[A-Za-z]:/.test(location)) return 'the path names a drive'
  if (location.split(/[/\\]/).includes('..')) return 'the path leaves the folder'
  return null
}

/** Where an external tensor says its bytes are. Throws `external-data`, naming the tensor, on a bad path or number. */
export function readExternalRange(proto: TensorProto, name = proto.name ?? ''): ExternalRange {
  const entries = new Map(proto.externalData.map(({ key, value }) => [key, value ?? '']))
  const location = entries.get('location') ?? ''
  const offset = parseByteCount(entries.get('offset') || '0')
  const length = entries.get('length') ? parseByteCount(entries.get('length') ?? '') : undefined
  const reason =
    describeRejection(location) ??
    (Number.isNaN(offset) ? `at offset ${JSON.stringify(entries.get('offset'))}, which is no byte count` : null) ??
    (Number.isNaN(length) ? `of length ${JSON.stringify(entries.get('length'))}, which is no byte count` : null)
  if (reason) throw new OnnxIreError('external-data', `tensor ${JSON.stringify(name)} lies in external data ${reason}`)
  return { location, offset, length }
}

const parseByteCount = (text: string): number => {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : Number.NaN
}

/** The fields of a tensor that holds its elements elsewhere. */
const noElements = (({ floatData, int32Data, int64Data, uint64Data, doubleData, stringData }) => ({
  floatData,
  int32Data,
  int64Data,
  uint64Data,
  doubleData,
  stringData,
}))(create('TensorProto', {}))

/** `proto` with its elements as raw data in the message. */
export const embedRawData = (proto: TensorProto, rawData: Uint8Array): TensorProto =>
  edit(proto, { ...noElements, rawData, dataLocation: undefined, externalData: [] })

/**
 * `proto` with its elements in a file instead of in the message. Entries that already say so stay untouched; a checksum
 * goes, as it is of another file.
 */
export function moveToExternalData(proto: TensorProto, range: ExternalRange & { length: number }): TensorProto {
  const wanted = new Map([
    ['location', range.location],
    ['offset', String(range.offset)],
    ['length', String(range.length)],
  ])
  const kept = proto.externalData.flatMap((entry): StringStringEntryProto[] => {
    const { key = '', value } = entry
    if (key === 'checksum') return []
    const want = wanted.get(key)
    wanted.delete(key)
    return [want === undefined || want === value ? entry : edit(entry, { value: want })]
  })
  const added = [...wanted].map(([key, value]) => create('StringStringEntryProto', { key, value }))
  return edit(proto, { ...noElements, rawData: undefined, dataLocation: external, externalData: [...kept, ...added] })
}

/** External data that is already in memory, for instance fetched by a browser: file contents by location. */
export function externalFiles(files: ReadonlyMap<string, Uint8Array>): ExternalData {
  return {
    read(location, offset, length) {
      const bytes = files.get(location)
      if (!bytes)
        throw new OnnxIreError('external-data', `external data file ${JSON.stringify(location)} was not given`)
      const end = length === undefined ? bytes.length : offset + length
      if (offset > bytes.length || end > bytes.length) {
        throw new OnnxIreError(
          'external-data',
          `external data file ${JSON.stringify(location)} has ${bytes.length} bytes, but bytes ${offset} to ${end} are needed`,
        )
      }
      return bytes.subarray(offset, end)
    },
  }
}
