/** Remainders of one byte followed by 0, 1, 2, 3 zero bytes, for the polynomial 0xEDB88320. */
const tables = Array.from({ length: 4 }, () => new Int32Array(256)) as [Int32Array, Int32Array, Int32Array, Int32Array]
for (let byte = 0; byte < 256; byte++) {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  tables[0][byte] = crc
}
for (let zeros = 1; zeros < 4; zeros++) {
  const before = tables[zeros - 1]!
  for (let byte = 0; byte < 256; byte++) {
    tables[zeros]![byte] = (before[byte]! >>> 8) ^ tables[0][before[byte]! & 255]!
  }
}

/**
 * CRC-32 of bytes as zip and PNG use it (ISO-HDLC; Python's `zlib.crc32`), four bytes at a time.
 * @param before the CRC of the bytes that came before these, to take a file in pieces
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  const [t0, t1, t2, t3] = tables
  const end = bytes.length & ~3
  let crc = ~before
  let i = 0
  for (; i < end; i += 4) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    crc = t3[crc & 255]! ^ t2[(crc >>> 8) & 255]! ^ t1[(crc >>> 16) & 255]! ^ t0[crc >>> 24]!
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]!) & 255]!
  return ~crc >>> 0
}
