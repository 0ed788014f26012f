/** A view of the bytes of an array. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/**
 * The built-in type of a value, such as 'Uint8Array', in any realm: tests under Jest run in one of their own, where
 * `instanceof` is false for values that Node has created.
 */
export const builtInType = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1)

/** The codes of the characters of ASCII text. */
export const asciiCodes = (text: string): readonly number[] => Array.from(text, (character) => character.charCodeAt(0))
