import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import protobuf from 'protobufjs/minimal.js'
import type { Tracker } from '../../train/track.js'
import { OnnxIreError } from '../../util/errors.js'

/** A run in TensorBoard. */
export interface TensorBoard extends Tracker {
  /** Adds the distribution of numbers, in the tab Histograms. Numbers that are not finite are left out. */
  histogram(name: string, values: ArrayLike<number>, step: number): void
  /** Adds an image as PNG bytes, in the tab Images. */
  image(
    name: string,
    png: { readonly width: number; readonly height: number; readonly data: Uint8Array },
    step: number,
  ): void
  /** Adds text in Markdown, in the tab Text. */
  text(name: string, markdown: string, step: number): void
  /** Closes the file. Other calls then throw `io`. */
  finish(): void
}

/** Options of `tensorBoard`. */
export interface TensorBoardOptions {
  /**
   * Number of steps that are done, if a run is resumed: TensorBoard then hides what earlier files of the folder contain
   * of later steps. Default 0.
   */
  readonly step?: number
  /** Current time in seconds. Default: the clock. */
  readonly now?: () => number
}

/**
 * Creates an event file of TensorBoard in a folder. One folder is one run: `tensorboard --logdir <parent>` compares the
 * folders of a parent folder. Every call writes to the file at once.
 *
 * @example
 * const board = tensorBoard('boards/first')
 * await trainer.train(data, { totalEpochs: 3, ...track(board) })
 * board.finish()
 *
 * @throws OnnxIreError `io` if the folder cannot be written to
 */
export function tensorBoard(folder: string, options: TensorBoardOptions = {}): TensorBoard {
  const { step: first = 0, now = () => Date.now() / 1000 } = options
  const explain = <T>(action: () => T): T => {
    try {
      return action()
    } catch (cause) {
      throw new OnnxIreError('io', `cannot write an event file in ${folder}: ${(cause as Error).message}`, { cause })
    }
  }
  const file = explain(() => {
    mkdirSync(folder, { recursive: true })
    // TensorBoard reads files whose names contain 'tfevents', in the order of their names.
    const time = String(Math.floor(now())).padStart(10, '0')
    return openSync(join(folder, `events.out.tfevents.${time}.${hostname()}.${process.pid}.${created++}`), 'wx')
  })
  let isOpen = true
  const write = (step: number, fields: (writer: Writer) => Writer) => {
    const event = Writer.create().uint32(tag(1, 1)).double(now()).uint32(tag(2, 0)).int64(step)
    explain(() => {
      // The number of a closed file may be that of another one.
      if (!isOpen) throw new Error('finish() has closed it; create another one with tensorBoard(folder)')
      writeSync(file, toRecord(fields(event).finish()))
    })
  }
  const writeSummary = (step: number, values: readonly SummaryValue[]) =>
    write(step, (event) =>
      message(event, 5, (summary) => values.reduce((into, value) => message(into, 1, value), summary)),
    )
  write(0, (event) => event.uint32(tag(3, 2)).string('brain.Event:2'))
  // A session that starts at a step replaces what was written of this step and later ones.
  if (first > 0) write(first + 1, (event) => message(event, 7, (session) => session.uint32(tag(1, 0)).int32(1)))
  return {
    log: (values, step) =>
      writeSummary(
        step,
        Object.entries(values).map(([name, value]) => scalarValue(name, value)),
      ),
    histogram: (name, values, step) => writeSummary(step, [histogramValue(name, values)]),
    image: (name, png, step) => writeSummary(step, [imageValue(name, png)]),
    text: (name, markdown, step) => writeSummary(step, [textValue(name, markdown)]),
    finish() {
      if (isOpen) closeSync(file)
      isOpen = false
    },
  }
}

/** Number of event files of this process, which are part of their names. */
let created = 0

const { Writer } = protobuf
type Writer = protobuf.Writer

/** The key of a field of a protobuf message. @param type 0 varint, 1 64 bits, 2 bytes, 5 32 bits */
const tag = (field: number, type: 0 | 1 | 2 | 5): number => (field << 3) | type

/** Writes a nested message. */
const message = (writer: Writer, field: number, write: (nested: Writer) => Writer): Writer =>
  write(writer.uint32(tag(field, 2)).fork()).ldelim()

/** Writes the fields of a Summary.Value (tensorboard/compat/proto/summary.proto). */
type SummaryValue = (value: Writer) => Writer

/** Writes the name of a Summary.Value. */
const named = (value: Writer, name: string): Writer => value.uint32(tag(1, 2)).string(name)

const scalarValue =
  (name: string, scalar: number): SummaryValue =>
  (value) =>
    named(value, name).uint32(tag(2, 5)).float(scalar)

function histogramValue(name: string, values: ArrayLike<number>): SummaryValue {
  const { min, max, count, sum, squares, limits, counts } = countBuckets(values)
  const packed = (into: Writer, field: number, numbers: readonly number[]) =>
    numbers.reduce((each, number) => each.double(number), into.uint32(tag(field, 2)).fork()).ldelim()
  return (value) =>
    message(named(value, name), 5, (histogram) => {
      for (const [i, total] of [min, max, count, sum, squares].entries()) histogram.uint32(tag(i + 1, 1)).double(total)
      return packed(packed(histogram, 6, limits), 7, counts)
    })
}

const imageValue =
  (name: string, { width, height, data }: Parameters<TensorBoard['image']>[1]): SummaryValue =>
  (value) =>
    message(named(value, name), 4, (image) => {
      const sizes = [height, width, 3] // 3: RGB
      for (const [i, size] of sizes.entries()) image.uint32(tag(i + 1, 0)).int32(size)
      return image.uint32(tag(4, 2)).bytes(data)
    })

const textValue =
  (name: string, markdown: string): SummaryValue =>
  (value) => {
    message(named(value, name), 9, (metadata) =>
      message(metadata, 1, (plugin) => plugin.uint32(tag(1, 2)).string('text')),
    )
    return message(value, 8, (tensor) => {
      message(tensor.uint32(tag(1, 0)).int32(7), 2, (shape) =>
        message(shape, 2, (dim) => dim.uint32(tag(1, 0)).int64(1)),
      )
      return tensor.uint32(tag(8, 2)).bytes(Buffer.from(markdown))
    })
  }

/** A record of an event file: length and data, each followed by its checksum. */
function toRecord(data: Uint8Array): Uint8Array {
  const record = Buffer.alloc(data.length + 16)
  record.writeBigUInt64LE(BigInt(data.length), 0)
  record.writeUInt32LE(maskedCrc(record.subarray(0, 8)), 8)
  record.set(data, 12)
  record.writeUInt32LE(maskedCrc(data), data.length + 12)
  return record
}

const crcTable = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc
})

/** CRC-32C, rotated by 15 bits, plus a constant: a file in a file would otherwise have the checksum of its checksum. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = -1
  for (const byte of bytes) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 255]!
  crc = ~crc
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** Number of buckets of a histogram of different values. */
const bucketCount = 40

/** Counts numbers in buckets of equal width. A bucket contains numbers up to its limit. */
function countBuckets(values: ArrayLike<number>) {
  let [min, max, count, sum, squares] = [Infinity, -Infinity, 0, 0, 0]
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (!Number.isFinite(value)) continue
    if (value < min) min = value
    if (value > max) max = value
    count++
    sum += value
    squares += value * value
  }
  if (count === 0) return { min: 0, max: 0, count, sum, squares, limits: [0], counts: [0] }
  const width = (max - min) / bucketCount
  if (!(width > 0)) return { min, max, count, sum, squares, limits: [max], counts: [count] }
  const limits = Array.from({ length: bucketCount }, (_, k) => (k === bucketCount - 1 ? max : min + (k + 1) * width))
  const counts = new Array<number>(bucketCount).fill(0)
  for (let i = 0; i < values.length; i++)
    if (Number.isFinite(values[i])) counts[Math.min(bucketCount - 1, Math.floor((values[i]! - min) / width))]! += 1
  return { min, max, count, sum, squares, limits, counts }
}
