/** Description of a web page in place of a file, for messages. */
export const webPage = 'it is a web page, probably an error page of the site it was downloaded from'

/** Whether the content of a file begins as a web page does, after the byte order mark of UTF-8 and blanks, if any. */
export const isWebPage = (bytes: Uint8Array): boolean =>
  /^(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)\b/i.test(String.fromCharCode(...bytes.subarray(0, 256)))
