import { OnnxIreError } from '../../util/errors.js'

/** What an action gives; the errors it throws are led by the field of the recipe that they are about. */
export async function located<T>(place: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    if (!(cause instanceof OnnxIreError)) throw cause
    throw new OnnxIreError(cause.code, `${place}: ${cause.message}`, { cause })
  }
}
