import { OnnxIreError } from '../../util/errors.js'
import type { NodeOptions } from '../runtime/node.js'
import { Handle } from './handle.js'
import { type Ort, readAddress } from './ort.js'

const levels = { disabled: 0, basic: 1, extended: 2, layout: 3, all: 99 }
const modes = { sequential: 0, parallel: 1 }

/** Creates `OrtSessionOptions` from the options of `node`, with the defaults of `node`. Throws 'invalid-option'. */
export function sessionOptions(ort: Ort, options: NodeOptions & { readonly threads: number }): Handle {
  const session = options.session ?? {}
  const handle = new Handle(
    'session options',
    readAddress((out) => ort.CreateSessionOptions(out)),
    ort.ReleaseSessionOptions,
  )
  const { address } = handle
  ort.SetIntraOpNumThreads(address, options.threads)
  ort.SetSessionGraphOptimizationLevel(
    address,
    choice('graphOptimizationLevel', levels, options.graphOptimizationLevel ?? 'all'),
  )
  ort.SetSessionLogSeverityLevel(address, session.logSeverityLevel ?? 3)
  if (session.enableMemPattern) ort.EnableMemPattern(address)
  else ort.DisableMemPattern(address)
  if (session.enableCpuMemArena ?? true) ort.EnableCpuMemArena(address)
  else ort.DisableCpuMemArena(address)
  if (session.interOpNumThreads !== undefined) ort.SetInterOpNumThreads(address, session.interOpNumThreads)
  if (session.executionMode !== undefined)
    ort.SetSessionExecutionMode(address, choice('executionMode', modes, session.executionMode))
  if (session.logId !== undefined) ort.SetSessionLogId(address, session.logId)
  if (session.logVerbosityLevel !== undefined) ort.SetSessionLogVerbosityLevel(address, session.logVerbosityLevel)
  if (session.optimizedModelFilePath !== undefined)
    ort.SetOptimizedModelFilePath(address, session.optimizedModelFilePath)
  if (session.enableProfiling) ort.EnableProfiling(address, session.profileFilePrefix ?? 'onnxruntime_profile_')
  for (const [name, size] of Object.entries(session.freeDimensionOverrides ?? {}))
    ort.AddFreeDimensionOverrideByName(address, name, size)
  const entries = new Map([['session.force_spinning_stop', '1'], ...flatten('', session.extra ?? {})])
  for (const [key, value] of entries) ort.AddSessionConfigEntry(address, key, value)
  return handle
}

function choice<T extends object>(option: string, of: T, given: keyof T & string): T[keyof T] {
  if (Object.hasOwn(of, given)) return of[given]
  const known = Object.keys(of).join(', ')
  throw new OnnxIreError('invalid-option', `${option} must be one of ${known}, got ${given}`)
}

/** Flattens nested entries: `{ session: { a: '1' } }` becomes 'session.a'. */
function flatten(prefix: string, entries: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(entries).flatMap(([key, value]): [string, string][] => {
    if (value === undefined) return []
    if (typeof value === 'object' && value !== null)
      return flatten(`${prefix}${key}.`, value as Record<string, unknown>)
    return [[`${prefix}${key}`, String(value)]]
  })
}
