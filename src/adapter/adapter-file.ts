import { type DType, dtypeOf, dtypes } from '../ir/dtype.js'
import { maxRank } from '../ir/shape.js'
import { sizeOf, type Tensor, toRawBytes } from '../ir/tensor.js'
import { OnnxIreError } from '../util/errors.js'
import { emptyRecord } from '../util/record.js'
import { decodeUtf8, encodeUtf8 } from '../util/utf8.js'

/**
 * The file format of onnxruntime's adapters (onnxruntime/lora/adapter_format/adapter_schema.fbs): a FlatBuffer with the
 * identifier TORT.
 *
 *     table Parameter { name:string; dims:[int64]; data_type:int32; raw_data:[uint8] (force_align: 8); }
 *     table Adapter { format_version:int; adapter_version:int; model_version:int; parameters:[Parameter]; }
 *
 * All numbers are little-endian. A table begins with the distance back to its vtable: two uint16 sizes (vtable, table),
 * then the uint16 offset of each field, 0 if it is absent. References are uint32 distances forward; strings and vectors
 * begin with their uint32 length.
 */
interface AdapterFile {
  readonly adapterVersion: number
  readonly modelVersion: number
  /** Tensors by the names of graph inputs. */
  readonly parameters: Readonly<Record<string, Tensor>>
}

const identifier = 'TORT'
const formatVersion = 1
/** Offsets in a FlatBuffer are 31 bits wide. */
const maxBytes = 2 ** 31 - 1
/** Both tables have four fields of four bytes, after the four bytes of the distance to their vtable. */
const tableBytes = 20
const vtable = [12, tableBytes, 4, 8, 12, 16]

/**
 * Encodes an adapter file.
 * @throws OnnxIreError `invalid-data` if the file would exceed 2 GiB
 */
export function encodeAdapterFile({ adapterVersion, modelVersion, parameters }: AdapterFile): Uint8Array {
  const entries = Object.entries(parameters).map(([name, tensor]) => ({
    name: encodeUtf8(name),
    tensor,
    data: toRawBytes(tensor),
  }))
  const vtableAt = 8
  const rootAt = vtableAt + vtable.length * 2
  const listAt = rootAt + tableBytes
  const tablesAt = listAt + 4 + 4 * entries.length
  let end = tablesAt + tableBytes * entries.length
  // The elements after a length begin at a multiple of `alignment`.
  const place = (alignment: number, bytes: number): number => {
    const at = Math.ceil((end + 4) / alignment) * alignment - 4
    end = at + 4 + bytes
    return at
  }
  const placed = entries.map((entry) => ({
    ...entry,
    nameAt: place(4, entry.name.length + 1),
    dimsAt: place(8, 8 * entry.tensor.dims.length),
    dataAt: place(8, entry.data.length),
  }))
  if (end > maxBytes)
    throw new OnnxIreError('invalid-data', `adapter: the file would have ${end} bytes; the format allows ${maxBytes}`)

  const file = new Uint8Array(Math.ceil(end / 8) * 8)
  const view = new DataView(file.buffer)
  const refer = (at: number, to: number) => view.setUint32(at, to - at, true)
  refer(0, rootAt)
  file.set(encodeUtf8(identifier), 4)
  for (const [i, value] of vtable.entries()) view.setUint16(vtableAt + 2 * i, value, true)
  view.setInt32(rootAt, rootAt - vtableAt, true)
  for (const [i, value] of [formatVersion, adapterVersion, modelVersion].entries())
    view.setInt32(rootAt + 4 * (i + 1), value, true)
  refer(rootAt + 16, listAt)
  view.setUint32(listAt, entries.length, true)
  for (const [i, { name, tensor, data, nameAt, dimsAt, dataAt }] of placed.entries()) {
    const at = tablesAt + tableBytes * i
    refer(listAt + 4 * (i + 1), at)
    view.setInt32(at, at - vtableAt, true)
    refer(at + 4, nameAt)
    refer(at + 8, dimsAt)
    view.setInt32(at + 12, dtypes[tensor.dtype].onnx, true)
    refer(at + 16, dataAt)
    view.setUint32(nameAt, name.length, true)
    file.set(name, nameAt + 4)
    view.setUint32(dimsAt, tensor.dims.length, true)
    for (const [axis, dim] of tensor.dims.entries()) view.setBigInt64(dimsAt + 4 + 8 * axis, BigInt(dim), true)
    view.setUint32(dataAt, data.length, true)
    file.set(data, dataAt + 4)
  }
  return file
}

/**
 * Decodes an adapter file. Every reference is checked against the bounds of the file. Tensors are views of `bytes` if
 * they are aligned there, and copies otherwise.
 * @throws OnnxIreError `damaged` for a file that is incomplete or changed, or not an adapter file
 */
export function decodeAdapterFile(bytes: Uint8Array): AdapterFile {
  const reader = new FlatBuffer(bytes)
  const root = reader.root()
  const version = reader.int(root, 0)
  if (version !== formatVersion) throw damaged(`its format version is ${version}; this library reads ${formatVersion}`)
  const parameters = emptyRecord<Tensor>()
  let dataBytes = 0
  for (const table of reader.tables(root, 3)) {
    const name = decodeUtf8(reader.bytes(table, 0, 'the name of a parameter'))
    const label = `parameter ${JSON.stringify(name)}`
    if (Object.hasOwn(parameters, name)) throw damaged(`${label} occurs twice`)
    const dims = readDims(reader.bytes(table, 1, `the dims of ${label}`, 8), label)
    const number = reader.int(table, 2)
    const dtype = dtypeOf(number)
    if (!dtype || dtype === 'string' || dtypes[dtype].bits < 8)
      throw damaged(`${label} has the type ${number}, which is not supported`)
    const data = reader.bytes(table, 3, `the data of ${label}`)
    if (data.length !== (sizeOf(dims) * dtypes[dtype].bits) / 8)
      throw damaged(`${label}, ${dtype} [${dims.join(', ')}], has ${data.length} bytes of data`)
    // Parameters that share their data could fill the memory with copies.
    dataBytes += data.length
    if (dataBytes > bytes.length) throw damaged('parameters share their data')
    parameters[name] = { dtype, dims, data: viewElements(dtype, data) }
  }
  return { adapterVersion: reader.int(root, 1), modelVersion: reader.int(root, 2), parameters: { ...parameters } }
}

function readDims(bytes: Uint8Array, label: string): readonly number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const rank = bytes.length / 8
  if (rank > maxRank) throw damaged(`${label} has ${rank} axes; at most ${maxRank} are supported`)
  const dims = Array.from({ length: rank }, (_, axis) => Number(view.getBigInt64(8 * axis, true)))
  if (!dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
    throw damaged(`${label} has impossible dimensions: [${dims.join(', ')}]`)
  return dims
}

function viewElements(dtype: DType, bytes: Uint8Array): Tensor['data'] {
  const { array: Elements, bits } = dtypes[dtype]
  const { buffer, byteOffset, length } = bytes.byteOffset % (bits / 8) === 0 ? bytes : new Uint8Array(bytes)
  return new Elements!(buffer, byteOffset, length / (bits / 8))
}

/** A table: the position of its first byte, and of its vtable. */
interface Table {
  readonly at: number
  readonly end: number
  readonly vtable: number
  readonly vtableEnd: number
}

/** Reader of a FlatBuffer that checks every reference. */
class FlatBuffer {
  readonly #bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const found = bytes.length < 8 ? '' : String.fromCharCode(...bytes.subarray(4, 8))
    if (found !== identifier)
      throw damaged(`bytes 4 to 7 are ${JSON.stringify(found)}, not "${identifier}": it is not an .onnx_adapter file`)
  }

  root(): Table {
    return this.#table(this.#target(0), 'the root')
  }

  /** An integer field; 0 if it is absent. */
  int(table: Table, field: number): number {
    const at = this.#field(table, field)
    return at === undefined ? 0 : this.#view.getInt32(at, true)
  }

  /** The elements of a vector or string field; none if it is absent. */
  bytes(table: Table, field: number, what: string, width = 1): Uint8Array {
    const at = this.#field(table, field)
    if (at === undefined) return new Uint8Array(0)
    const { start, length } = this.#vector(this.#target(at), what, width)
    return this.#bytes.subarray(start, start + length * width)
  }

  /** The tables of a vector field. */
  *tables(table: Table, field: number): Generator<Table> {
    const at = this.#field(table, field)
    if (at === undefined) return
    const { start, length } = this.#vector(this.#target(at), 'the list of parameters', 4)
    for (let i = 0; i < length; i++) yield this.#table(this.#target(start + 4 * i), `parameter ${i}`)
  }

  #table(at: number, what: string): Table {
    this.#check(at, 4, what)
    const vtable = at - this.#view.getInt32(at, true)
    this.#check(vtable, 4, `the vtable of ${what}`)
    const [vtableBytes, bytes] = [this.#view.getUint16(vtable, true), this.#view.getUint16(vtable + 2, true)]
    this.#check(vtable, vtableBytes, `the vtable of ${what}`)
    this.#check(at, bytes, what)
    if (vtableBytes < 4 || bytes < 4) throw damaged(`the vtable of ${what} is too short`)
    return { at, end: at + bytes, vtable, vtableEnd: vtable + vtableBytes }
  }

  /** Position of a field of four bytes; undefined if it is absent. */
  #field({ at, end, vtable, vtableEnd }: Table, field: number): number | undefined {
    const entry = vtable + 4 + 2 * field
    const offset = entry + 2 <= vtableEnd ? this.#view.getUint16(entry, true) : 0
    if (offset === 0) return undefined
    if (offset < 4 || at + offset + 4 > end) throw damaged(`field ${field} of the table at byte ${at} is outside of it`)
    return at + offset
  }

  /** Position that the reference at a position leads to. */
  #target(at: number): number {
    this.#check(at, 4, 'a reference')
    return at + this.#view.getUint32(at, true)
  }

  #vector(at: number, what: string, width: number): { start: number; length: number } {
    this.#check(at, 4, what)
    const length = this.#view.getUint32(at, true)
    this.#check(at + 4, length * width, what)
    return { start: at + 4, length }
  }

  #check(at: number, length: number, what: string): void {
    if (at < 0 || at + length > this.#bytes.length)
      throw damaged(`${what} is at bytes ${at} to ${at + length}, but the file has ${this.#bytes.length}`)
  }
}

const damaged = (what: string) => new OnnxIreError('damaged', `the adapter file is damaged: ${what}; use another copy`)
