import { OnnxIreError } from '../errors.js'
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
  const reason = refusal(location)
  if (reason) {
    throw new OnnxIreError(
      'external-data',
      `external data path ${JSON.stringify(location)} is refused: ${reason}. Paths must be relative and stay within the model's folder`,
    )
  }
}

function refusal(location: string): string | null {
  if (location === '') return 'it is empty'
  if (location.includes('\0')) return 'it contains a zero byte'
  if (/^[/\\]/.test(location)) return 'it is absolute'
  if (/^[A-Za-z]:/.test(location)) return 'it names a drive'
  if (location.split(/[/\\]/).includes('..')) return 'it leaves the folder'
  return null
}

/** Where an external tensor says its bytes are. Throws `external-data` on a bad path or number. */
export function externalRange(proto: TensorProto): ExternalRange {
  const entries = new Map(proto.externalData.map(({ key, value }) => [key, value ?? '']))
  const location = entries.get('location')
  if (location === undefined) throw new OnnxIreError('external-data', 'its external data names no location')
  checkLocation(location)
  return {
    location,
    offset: byteCount('offset', entries.get('offset')) ?? 0,
    length: byteCount('length', entries.get('length')),
  }
}

function byteCount(key: string, text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) {
    throw new OnnxIreError(
      'external-data',
      `its external data has ${key} ${JSON.stringify(text)}, which is no byte count`,
    )
  }
  return value
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
export const withRawData = (proto: TensorProto, rawData: Uint8Array): TensorProto =>
  edit(proto, { ...noElements, rawData, dataLocation: undefined, externalData: [] })

/**
 * `proto` with its elements in a file instead of in the message. Entries that already say so stay untouched; a checksum
 * goes, as it is of another file.
 */
export function withExternalRange(proto: TensorProto, range: ExternalRange & { length: number }): TensorProto {
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
