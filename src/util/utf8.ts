import protobuf from 'protobufjs/minimal.js'

const { utf8 } = protobuf.util

/** Decodes UTF-8. Invalid bytes become U+FFFD; a byte order mark is preserved. */
export const decodeUtf8 = (bytes: Uint8Array): string => utf8.read(bytes, 0, bytes.length)

/** Encodes text as UTF-8. Lone surrogates become U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  const valid = replaceLoneSurrogates(text)
  const bytes = new Uint8Array(utf8.length(valid))
  utf8.write(valid, bytes, 0)
  return bytes
}

/** Replaces lone surrogates, which protobufjs would encode as three bytes that are not valid UTF-8, by U+FFFD. */
export const replaceLoneSurrogates = (text: string): string => text.replace(/\p{Surrogate}/gu, '\ufffd')
