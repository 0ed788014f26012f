/** A field of a CSV record, quoted if necessary (RFC 4180). */
export const csvField = (field: string): string => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)
