import { OnnxIreError } from '../util/errors.js'

/** The error of whoever asks something of what is no more: 'runtime', 'disposed'. */
export const gone = (what: string, how: 'disposed' | 'released'): OnnxIreError =>
  new OnnxIreError('runtime', `this ${what} was ${how}`)
