import { OnnxIreError } from '../../util/errors.js'
import { create, edit } from './message.js'
import type { StringStringEntryProto, TensorProto } from './schema.js'

/** A source of the bytes of external tensors (https://onnx.ai/onnx/repo-docs/ExternalData.html). */
export interface ExternalData {
  /**
   * Reads `length` bytes of a file from `offset` on, or all bytes from `offset` on if `length` is undefined.
   * `location` is relative to the folder of the model. Throws `external-data` if the file is missing, too short or
   * outside that folder.
   */
  read(location: string, offset: number, length: number | undefined): Uint8Array
  /**
   * The folder of a file on this machine, from which another program may read it; undefined if the file has changed or
   * does not exist. Absent if the data are not files.
   */
  folderOf?(location: string): string | undefined
}

/** The range of a tensor's bytes in a file: the entries of TensorProto.external_data. */
export interface ExternalRange {
  readonly location: string
  readonly offset: number
  readonly length: number | undefined
}

/** TensorProto.DataLocation.EXTERNAL */
const external = 1

export const isExternal = (proto: TensorProto): boolean => proto.dataLocation === external

/**
 * Throws `external-data` unless `location` is a relative path within the folder of the model, on POSIX and on Windows.
 * Only the text is checked: the caller that opens the file must check links.
 */
export function checkLocation(location: string): void {
  const reason = describeRejection(location)
  if (reason) throw new OnnxIreError('external-data', `external data ${reason}`)
}

function describeRejection(location: string): string | null {
  const fault = findPathFault(location)
  const rule = "use a relative path within the model's folder"
  return fault && `${JSON.stringify(location)} is rejected: ${fault}; ${rule}`
}

function findPathFault(location: string): string | null {
  if (location === '') return 'the path is missing'
  if (location.includes('\0')) return 'the path contains a zero byte'
  if (/^[/\\]/.test(location)) return 'the path is absolute'
  if (/^[A-Za-z]:/.test(location)) return 'the path has a drive letter'
  if (location.split(/[/\\]/).includes('..')) return 'the path leaves the folder'
  return null
}

/** Reads the range of an external tensor. Throws `external-data` with its name for an invalid path or number. */
export function readExternalRange(proto: TensorProto, name = proto.name ?? ''): ExternalRange {
  const entries = new Map(proto.externalData.map(({ key, value }) => [key, value ?? '']))
  const location = entries.get('location') ?? ''
  const offset = parseByteCount(entries.get('offset') || '0')
  const length = entries.get('length') ? parseByteCount(entries.get('length') ?? '') : undefined
  const reason =
    describeRejection(location) ??
    (Number.isNaN(offset)
      ? `has the offset ${JSON.stringify(entries.get('offset'))}, which is not a byte count`
      : null) ??
    (Number.isNaN(length) ? `has the length ${JSON.stringify(entries.get('length'))}, which is not a byte count` : null)
  if (reason) throw new OnnxIreError('external-data', `tensor ${JSON.stringify(name)}: its external data ${reason}`)
  return { location, offset, length }
}

const parseByteCount = (text: string): number => {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : Number.NaN
}

/** The empty element fields of a tensor whose elements are raw or external data. */
const noElements = (({ floatData, int32Data, int64Data, uint64Data, doubleData, stringData }) => ({
  floatData,
  int32Data,
  int64Data,
  uint64Data,
  doubleData,
  stringData,
}))(create('TensorProto', {}))

/** Replaces the elements of a tensor by raw data in the message. */
export const embedRawData = (proto: TensorProto, rawData: Uint8Array): TensorProto =>
  edit(proto, { ...noElements, rawData, dataLocation: undefined, externalData: [] })

/**
 * Replaces the elements of a tensor by a reference to a range of a file. Entries that already have the right value
 * remain unchanged. A checksum is removed, because it is that of another file.
 */
export function moveToExternalData(proto: TensorProto, range: ExternalRange & { length: number }): TensorProto {
  const values = new Map([
    ['location', range.location],
    ['offset', String(range.offset)],
    ['length', String(range.length)],
  ])
  const entries = proto.externalData.flatMap((entry): StringStringEntryProto[] => {
    const { key = '', value } = entry
    if (key === 'checksum') return []
    const newValue = values.get(key)
    values.delete(key)
    return [newValue === undefined || newValue === value ? entry : edit(entry, { value: newValue })]
  })
  const added = [...values].map(([key, value]) => create('StringStringEntryProto', { key, value }))
  return edit(proto, {
    ...noElements,
    rawData: undefined,
    dataLocation: external,
    externalData: [...entries, ...added],
  })
}

/**
 * External data in memory, for instance downloaded by a browser: file contents by location.
 *
 * @example
 * ```ts
 * const external = externalFiles(new Map([['model.onnx_data', dataBytes]]))
 * const model = decodeModel(modelBytes, external)
 * ```
 */
export function externalFiles(files: ReadonlyMap<string, Uint8Array>): ExternalData {
  return {
    read(location, offset, length) {
      const bytes = files.get(location)
      if (!bytes)
        throw new OnnxIreError(
          'external-data',
          `external data file ${JSON.stringify(location)} is missing; given: ${[...files.keys()].join(', ') || 'no files'}`,
        )
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
