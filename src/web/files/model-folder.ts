import type { ModelFolder } from '../../language/model-folder.js'
import { OnnxIreError } from '../../util/errors.js'
import { type FolderFiles, listFiles, withPaths } from '../data/image-folder.js'
import { readModel } from './model.js'
import { addressAt, readBytes } from './source.js'

/**
 * Folder of a language model, for `readLanguageModel`: the address of a folder on a server, a folder that was picked,
 * dropped or belongs to the origin's private file system, or its files.
 * @example
 * const chat = await readLanguageModel(await modelFolder('https://example.org/SmolLM2-135M-Instruct/'))
 * const picked = await readLanguageModel(await modelFolder(input.files)) // <input type="file" webkitdirectory>
 */
export async function modelFolder(
  source: string | URL | FileSystemDirectoryHandle | FolderFiles,
): Promise<ModelFolder> {
  if (typeof source === 'string' || source instanceof URL) return addressFolder(source)
  return 'getFileHandle' in source
    ? filesFolder(source.name || 'the folder', await listFiles(source))
    : filesFolder('the given files', source)
}

function addressFolder(base: string | URL): ModelFolder {
  const folder = new URL(base, globalThis.location?.href)
  if (!folder.pathname.endsWith('/')) folder.pathname += '/'
  const at = (path: string) => addressAt(path, folder)
  return {
    name: folder.href,
    async has(path) {
      try {
        const { ok, headers } = await fetch(at(path), { method: 'HEAD' })
        // Development servers respond with the start page if there is no such file.
        return ok && !headers.get('content-type')?.startsWith('text/html')
      } catch (cause) {
        throw new OnnxIreError(
          'io',
          `cannot fetch ${at(path)}: ${(cause as Error).message}; the server may be unreachable, or may not allow pages of other origins to read it (CORS)`,
          { cause },
        )
      }
    },
    read: (path) => readBytes('file', at(path)),
    readModel: (path) => readModel(at(path)),
  }
}

function filesFolder(name: string, given: FolderFiles): ModelFolder {
  const files = new Map(withPaths(given).map(({ path, file }) => [path, file]))
  const find = (path: string): Blob => {
    const file = files.get(path)
    if (file) return file
    throw new OnnxIreError('io', `${name} has no file ${path}, but ${[...files.keys()].join(', ') || 'no files'}`)
  }
  return {
    name,
    has: async (path) => files.has(path),
    read: (path) => readBytes('file', find(path)),
    async readModel(path) {
      const parent = path.slice(0, path.lastIndexOf('/') + 1)
      const beside = [...files].flatMap(([other, file]) =>
        other.startsWith(parent) ? [new File([file], other.slice(parent.length))] : [],
      )
      return readModel(find(path), { external: beside })
    },
  }
}
