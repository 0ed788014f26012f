/** A view of the bytes of an array. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** The codes of the characters of ASCII text. */
export const asciiCodes = (text: string): readonly number[] => Array.from(text, (character) => character.charCodeAt(0))
