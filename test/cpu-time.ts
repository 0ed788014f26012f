/** Result of an action and the seconds of CPU time that it takes: on a busy machine it waits longer for the processor. */
export async function cpuTimeOf<T>(
  action: () => T | Promise<T>,
): Promise<{ readonly result: T; readonly seconds: number }> {
  const { user } = process.cpuUsage()
  const result = await action()
  return { result, seconds: (process.cpuUsage().user - user) / 1e6 }
}
