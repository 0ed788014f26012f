/** The little of the host's text codec that is used here; the core knows no platform's types. */
interface TextCodec {
  readonly TextDecoder: new (
    encoding: 'utf-8',
    options: { readonly ignoreBOM: boolean },
  ) => { decode(bytes: Uint8Array): string }
  readonly TextEncoder: new () => { encode(text: string): Uint8Array }
}

const { TextDecoder, TextEncoder } = globalThis as unknown as TextCodec
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const encoder = new TextEncoder()

/** What is not UTF-8 becomes U+FFFD. */
export function textOf(utf8: Uint8Array): string {
  // Names are short and ASCII, which takes a decoder longer to begin with than to read.
  if (utf8.length < 32 && utf8.every((byte) => byte < 128)) return String.fromCharCode(...utf8)
  return decoder.decode(utf8)
}

/** A surrogate without its other half becomes U+FFFD. */
export const utf8Of = (text: string): Uint8Array => encoder.encode(text)
