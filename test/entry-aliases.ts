import { readFileSync } from 'node:fs'
import { join } from 'node:path'

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>
}

/** Vite aliases from the entry points of the package (`onnx-ire/data`) to their compiled modules under `root`. */
export function entryAliases(root: string): { readonly find: RegExp; readonly replacement: string }[] {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest
  return Object.entries(exports).flatMap(([entry, target]) =>
    typeof target === 'string'
      ? []
      : [{ find: new RegExp(`^onnx-ire${entry.slice(1)}$`), replacement: join(root, target.default) }],
  )
}
