/** Of every JavaScript host; the language itself has no UTF-8. */
declare const TextDecoder: new (label: string, options: object) => { decode(bytes: Uint8Array): string }
declare const TextEncoder: new () => { encode(text: string): Uint8Array }

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const encoder = new TextEncoder()

/** What is no UTF-8 becomes U+FFFD. */
export function textOf(utf8: Uint8Array): string {
  // Names are short and plain, and there are many: calling the decoder costs more than they do.
  if (utf8.length > 64) return decoder.decode(utf8)
  let text = ''
  for (const byte of utf8) {
    if (byte >= 128) return decoder.decode(utf8)
    text += String.fromCharCode(byte)
  }
  return text
}

/** Lone surrogates become U+FFFD. */
export const utf8Of = (text: string): Uint8Array => encoder.encode(text)
