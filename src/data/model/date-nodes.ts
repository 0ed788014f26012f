import { dtypes } from '../../ir/dtype.js'
import { intAttribute, stringAttribute } from '../../onnx/proto/attribute.js'
import { type DatePart, datePattern } from '../formats/date.js'
import { missingTexts } from '../formats/table-features.js'
import type { NodeList } from './node-list.js'

/** Lowest operator set with the operators on texts. */
export const dateOperatorSet = 20

/** Days from March 1, -400, from which days are counted so that no number is negative, to January 1, 1970. */
const daysBefore1970 = 719_468 + 146_097

/**
 * Nodes that compute parts of dates from texts [N], with the numbers of `parseDate` and `dateParts`. A text that is not
 * a date fails when the graph runs: it is replaced by one that Cast cannot convert, and the name of that node is the
 * reason.
 */
export class DateNodes {
  readonly #nodes: NodeList
  readonly #column: string
  /** Whether each text is a missing date, as bool [N]. */
  readonly isMissing: string
  readonly #second: string
  /** Number of the minute in UTC, from the beginning of March 1, -400. */
  readonly #minute: string
  #date: { readonly year: string; readonly month: string; readonly day: string } | undefined
  readonly #parts = new Map<DatePart, string>()

  /** @param acceptsMissing whether missing dates, which have any parts, do not fail */
  constructor(nodes: NodeList, text: string, acceptsMissing: boolean) {
    this.#nodes = nodes
    this.#column = text
    this.isMissing = this.#matches(text, `(?:${[...missingTexts].join('|')})`)
    const given = acceptsMissing ? nodes.add('Where', [this.isMissing, this.#text('1970-01-01'), text]) : text
    const known = nodes.add('Where', [this.#matches(given, datePattern), given, this.#text('no-no-no')])
    // Text is appended so that every row has the parts that are read: an absent part is empty, or has its default.
    const [year, month, rest, west] = this.#split(known, '-', '---', 4)
    const [local, east] = this.#split(rest!, '+', '+', 2)
    const [withoutZ] = this.#split(local!, 'Z', '', 1)
    const [day, time] = this.#split(this.#join(this.#split(withoutZ!, 'T', 'T', 2), ' '), '', ' 00:00', 2)
    const [hour, minute, second] = this.#split(time!, ':', ':00', 3)
    const [trimmedYear] = this.#split(year!, '', '', 1)
    const days = this.#countDays(this.#integer(trimmedYear!), this.#integer(month!), this.#integer(day!))
    const ofDay = this.#add(this.#multiply(this.#integer(hour!), 60), this.#integer(minute!))
    const atZone = this.#add(this.#multiply(days, 1440), ofDay)
    this.#minute = this.#add(this.#subtract(atZone, this.#offset(east!)), this.#offset(west!))
    this.#second = second!
  }

  /** The part of every date, as float64 [N]. */
  part(part: DatePart): string {
    const known = this.#parts.get(part)
    if (known !== undefined) return known
    const value = this.#toFloat(this.#compute(part))
    const milliseconds = () => this.#nodes.constant('float64', [], Float64Array.of(86_400_000))
    const added = part === 'timestamp' ? this.#nodes.add('Div', [value, milliseconds()]) : value
    this.#parts.set(part, added)
    return added
  }

  #compute(part: DatePart): string {
    if (part === 'year' || part === 'month' || part === 'day') {
      this.#date ??= this.#computeDate()
      return this.#date[part]
    }
    // March 1, -400 is a Wednesday.
    if (part === 'weekday') return this.#modulo(this.#add(this.#divide(this.#minute, 1440), 2), 7)
    if (part === 'hour') return this.#divide(this.#modulo(this.#minute, 1440), 60)
    if (part === 'minute') return this.#modulo(this.#minute, 60)
    const [second] = this.#split(this.#second, '.', '', 1)
    const seconds = this.#multiply(this.#subtract(this.#minute, daysBefore1970 * 1440), 60)
    return this.#multiply(this.#add(seconds, this.#integer(second!)), 1000)
  }

  /** Days from March 1, -400, with years that begin in March: their leap day is the last day. */
  #countDays(year: string, month: string, day: string): string {
    const isEarly = this.#divide(this.#subtract(14, month), 12)
    const shifted = this.#add(this.#subtract(year, isEarly), 400)
    const monthOfYear = this.#modulo(this.#add(month, 9), 12)
    const dayOfYear = this.#add(this.#add(this.#firstDay(monthOfYear), day), -1)
    const leapDays = this.#add(
      this.#subtract(this.#divide(shifted, 4), this.#divide(shifted, 100)),
      this.#divide(shifted, 400),
    )
    return this.#add(this.#add(this.#multiply(shifted, 365), leapDays), dayOfYear)
  }

  /** Day of the year on which a month begins; March is month 0. */
  #firstDay(month: string): string {
    return this.#divide(this.#add(this.#multiply(month, 153), 2), 5)
  }

  /** The inverse of `#countDays`; 400 years have 146097 days. */
  #computeDate(): { readonly year: string; readonly month: string; readonly day: string } {
    const days = this.#divide(this.#minute, 1440)
    const dayOfEra = this.#modulo(days, 146_097)
    const corrected = this.#subtract(
      this.#add(this.#subtract(dayOfEra, this.#divide(dayOfEra, 1460)), this.#divide(dayOfEra, 36_524)),
      this.#divide(dayOfEra, 146_096),
    )
    const yearOfEra = this.#divide(corrected, 365)
    const daysOfYears = this.#subtract(
      this.#add(this.#multiply(yearOfEra, 365), this.#divide(yearOfEra, 4)),
      this.#divide(yearOfEra, 100),
    )
    const dayOfYear = this.#subtract(dayOfEra, daysOfYears)
    const monthOfYear = this.#divide(this.#add(this.#multiply(dayOfYear, 5), 2), 153)
    const era = this.#multiply(this.#divide(days, 146_097), 400)
    const isEarly = this.#divide(monthOfYear, 10)
    return {
      year: this.#add(this.#add(this.#add(yearOfEra, era), isEarly), -400),
      month: this.#add(this.#modulo(this.#add(monthOfYear, 2), 12), 1),
      day: this.#add(this.#subtract(dayOfYear, this.#firstDay(monthOfYear)), 1),
    }
  }

  /** Minutes of a time zone, written 02:00, 0200 or, if there is none, as an empty text. */
  #offset(zone: string): string {
    const digits = this.#split(this.#join(this.#split(zone, ':', ':', 2), ''), '', ' 0000', 1)
    const number = this.#integer(digits[0]!)
    return this.#add(this.#multiply(this.#divide(number, 100), 60), this.#modulo(number, 100))
  }

  #matches(text: string, pattern: string): string {
    return this.#nodes.add('RegexFullMatch', [text], [stringAttribute('pattern', pattern)])
  }

  #text(value: string): string {
    return this.#nodes.constant('string', [], [value])
  }

  /** The first parts of texts with `end` appended. @param delimiter a text, or '' for spaces */
  #split(text: string, delimiter: string, end: string, count: number): readonly string[] {
    const whole = end === '' ? text : this.#nodes.add('StringConcat', [text, this.#text(end)])
    const attributes = delimiter === '' ? [] : [stringAttribute('delimiter', delimiter)]
    const outputs = [this.#nodes.unused('columns/parts'), this.#nodes.unused('columns/counts')]
    const parts = this.#nodes.add('StringSplit', [whole], attributes, outputs)
    return Array.from({ length: count }, (_, i) => {
      const index = this.#nodes.constant('int64', [], BigInt64Array.of(BigInt(i)))
      return this.#nodes.add('Gather', [parts, index], [intAttribute('axis', -1)])
    })
  }

  #join([first, second]: readonly string[], between: string): string {
    const start = between === '' ? first! : this.#nodes.add('StringConcat', [first!, this.#text(between)])
    return this.#nodes.add('StringConcat', [start, second!])
  }

  #integer(text: string): string {
    const to = intAttribute('to', dtypes.int64.onnx)
    return this.#nodes.add('Cast', [text], [to], undefined, undefined, `${this.#column} is not a date`)
  }

  #toFloat(value: string): string {
    return this.#nodes.add('Cast', [value], [intAttribute('to', dtypes.float64.onnx)])
  }

  #add(a: string, b: string | number): string {
    return this.#arithmetic('Add', a, b)
  }

  #subtract(a: string | number, b: string | number): string {
    return this.#arithmetic('Sub', a, b)
  }

  #multiply(a: string, b: number): string {
    return this.#arithmetic('Mul', a, b)
  }

  #divide(a: string, b: number): string {
    return this.#arithmetic('Div', a, b)
  }

  #modulo(a: string, b: number): string {
    return this.#arithmetic('Mod', a, b)
  }

  #arithmetic(opType: string, ...operands: readonly (string | number)[]): string {
    const names = operands.map((each) =>
      typeof each === 'string' ? each : this.#nodes.constant('int64', [], BigInt64Array.of(BigInt(each))),
    )
    return this.#nodes.add(opType, names)
  }
}
