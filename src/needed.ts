import { OnnxIreError } from './util/errors.js'

/**
 * A part of this library that not every run needs, when a run needs it: `await needed(import('./part.js'))`.
 * @throws 'runtime' where it does not load: there is no network, or its files have made way for those of another deployment
 */
export const needed = <T>(loading: Promise<T>): Promise<T> =>
  loading.catch((cause) => {
    throw new OnnxIreError(
      'runtime',
      `a part of onnx-ire does not load: ${(cause as Error).message}; see that its files can be reached, and start anew`,
      { cause },
    )
  })
