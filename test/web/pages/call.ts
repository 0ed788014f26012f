type Functions = Readonly<Record<string, (...args: readonly unknown[]) => unknown>>

/** Vite's: modules by path, loaded when called. */
declare global {
  interface ImportMeta {
    glob(pattern: string): Readonly<Record<string, () => Promise<unknown>>>
  }
}

const modules = import.meta.glob('./calls/*.ts') as Readonly<Record<string, () => Promise<Functions>>>

/** A call of a function of one of the modules in `calls`, from the test in Node. */
export interface Call {
  readonly module: string
  readonly name: string
  readonly args: readonly unknown[]
}

/** The result of a call; errors are sent as code and message. */
export type Answer =
  | { readonly value: unknown }
  | { readonly error: { readonly code?: string; readonly message: string; readonly stack?: string } }

export async function answer({ module, name, args }: Call): Promise<Answer> {
  try {
    const functions = await modules[`./calls/${module}.ts`]!()
    return { value: await functions[name]!(...args) }
  } catch (error) {
    const { code, message, stack } = error as Error & { code?: string }
    return { error: { ...(code ? { code } : {}), message: message ?? String(error), ...(stack ? { stack } : {}) } }
  }
}
