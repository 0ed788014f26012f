import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { build, type Rolldown } from 'vite'
import { entryAliases } from '../entry-aliases.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Bundle {
  /** Bytes of what is loaded at once, gzipped, and compressed by brotli at quality 5. */
  readonly size: number
  readonly gzipped: number
  readonly brotli: number
  /** Number of these files; modules shared by several later chunks may be in separate files. */
  readonly files: number
  /** Gzipped bytes of each chunk loaded on demand, by the name of the first module that imports it. */
  readonly later: Readonly<Record<string, number>>
  /** Bytes at once by package, or by folder of the library. */
  readonly parts: Readonly<Record<string, number>>
  /** The library's modules that are loaded at once or later, by their paths in `dist`. */
  readonly modules: readonly string[]
}

/** Builds an application with these imports with Vite and measures what it loads, without onnxruntime. */
export async function bundled(code: string): Promise<Bundle> {
  const result = (await build({
    configFile: false,
    root,
    logLevel: 'error',
    resolve: {
      alias: [...entryAliases(root)],
    },
    plugins: [
      {
        name: 'application',
        resolveId: (id) => (id === 'application' ? '\0application' : null),
        load: (id) => (id === '\0application' ? code : null),
      },
    ],
    build: {
      write: false,
      target: 'es2023',
      modulePreload: false,
      rollupOptions: {
        input: 'application',
        external: /^onnxruntime-web/,
        // Nothing imports the script of a page, so modules shared with later chunks may stay in it.
        preserveEntrySignatures: 'allow-extension',
      },
    },
  })) as Rolldown.RolldownOutput
  const chunks = new Map(result.output.flatMap((part) => (part.type === 'chunk' ? [[part.fileName, part]] : [])))
  const atOnce = new Set<Rolldown.OutputChunk>()
  const visit = (chunk: Rolldown.OutputChunk | undefined) => {
    if (!chunk || atOnce.has(chunk)) return
    atOnce.add(chunk)
    for (const name of chunk.imports) visit(chunks.get(name))
  }
  visit([...chunks.values()].find(({ isEntry }) => isEntry))
  const parts: Record<string, number> = {}
  for (const { modules } of atOnce)
    for (const [id, { renderedLength }] of Object.entries(modules)) {
      if (id.startsWith('\0')) continue
      const part = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(id)?.[1] ?? /dist\/([^/]+)/.exec(id)?.[1] ?? id
      parts[part] = (parts[part] ?? 0) + renderedLength
    }
  const gzip = (code: string) => gzipSync(code, { level: 9 }).length
  const brotli = (code: string) => brotliCompressSync(code, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }).length
  const sum = (measure: (code: string) => number) => [...atOnce].reduce((total, { code }) => total + measure(code), 0)
  const later: Record<string, number> = {}
  for (const chunk of chunks.values())
    if (!atOnce.has(chunk)) later[chunk.name] = (later[chunk.name] ?? 0) + gzip(chunk.code)
  const modules = [...chunks.values()].flatMap(({ modules }) =>
    Object.entries(modules).flatMap(([id, { renderedLength }]) =>
      renderedLength > 0 ? [/\/dist\/(.*)$/.exec(id)?.[1] ?? []].flat() : [],
    ),
  )
  return {
    size: sum((code) => Buffer.byteLength(code)),
    gzipped: sum(gzip),
    brotli: sum(brotli),
    files: atOnce.size,
    later,
    parts,
    modules,
  }
}
