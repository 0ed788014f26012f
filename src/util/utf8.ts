interface Utf8Api {
  readonly TextDecoder: new (label: string, options: { ignoreBOM: boolean }) => { decode(bytes: Uint8Array): string }
  readonly TextEncoder: new () => { encode(text: string): Uint8Array }
}

// Every JavaScript host has these. The core has no platform types.
const { TextDecoder, TextEncoder } = globalThis as unknown as Utf8Api
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const encoder = new TextEncoder()

/** Decodes UTF-8. Invalid bytes become U+FFFD; a byte order mark is preserved. */
export const decodeUtf8 = (bytes: Uint8Array): string =>
  // Browsers do not decode shared memory.
  decoder.decode(bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice())

/** Encodes text as UTF-8. Lone surrogates become U+FFFD. */
export const encodeUtf8 = (text: string): Uint8Array => encoder.encode(text)
