/** Parts of a date, as numbers; 'timestamp' is the number of days since 1970, with their fraction. */
export type DatePart = 'year' | 'month' | 'day' | 'weekday' | 'hour' | 'minute' | 'timestamp'

/** Parts of a date in UTC; `DateNodes` computes the same numbers in a graph. */
export const dateParts: Readonly<Record<DatePart, (date: Date) => number>> = {
  year: (date) => date.getUTCFullYear(),
  month: (date) => date.getUTCMonth() + 1,
  day: (date) => date.getUTCDate(),
  weekday: (date) => (date.getUTCDay() + 6) % 7,
  hour: (date) => date.getUTCHours(),
  minute: (date) => date.getUTCMinutes(),
  timestamp: (date) => date.getTime() / 86_400_000,
}

const commonDay = [
  '(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])',
  '(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)',
  '02-(?:0[1-9]|1\\d|2[0-8])',
].join('|')
const leapYear = '\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00'
const time = '(?:[01]\\d|2[0-3]):[0-5]\\d(?::[0-5]\\d(?:\\.\\d+)?)?'
const zone = '\\s*(?:Z|[+-]\\d\\d:?\\d\\d)?'

/** Regular expression of ISO 8601 dates that exist, in the common syntax of JavaScript and RE2. */
export const datePattern = `\\s*(?:\\d{4}-(?:${commonDay})|(?:${leapYear})-02-29)(?:[T ]${time})?${zone}\\s*`

const isDate = new RegExp(`^(?:${datePattern})$`)
const fields = /(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?[.\d]*\s*(?:([+-])(\d\d):?(\d\d))?/

/**
 * Parses an ISO 8601 date, in UTC if it names no time zone, without fractions of a second. Undefined for other texts
 * and for dates that do not exist.
 */
export function parseDate(text: string): Date | undefined {
  if (!isDate.test(text)) return undefined
  const [, ...found] = fields.exec(text)!
  const numbers = found.slice(0, 6).map((field: string | undefined) => Number(field ?? 0))
  const [year, month, day, hour, minute, second] = numbers as [number, number, number, number, number, number]
  const [sign, hours, minutes] = found.slice(6)
  const east = (sign === '-' ? -1 : 1) * (60 * Number(hours ?? 0) + Number(minutes ?? 0))
  const date = new Date(0)
  // Date.UTC reads the years 0 to 99 as 1900 to 1999.
  date.setUTCFullYear(year, month - 1, day)
  date.setUTCHours(hour, minute - east, second)
  return date
}
