/** A file in a folder. */
export interface FolderFile {
  /** Path within the folder: 'daisy/1.jpg'. */
  readonly path: string
  readonly file: Blob
}

/** Files of a folder: from an `<input type="file" webkitdirectory>`, or with explicit paths. */
export type FolderFiles = Iterable<File | FolderFile>

/**
 * Lists all files below a folder that was picked, dropped or belongs to the origin, at any depth; names that start with
 * a dot are skipped.
 */
export async function listFiles(folder: FileSystemDirectoryHandle, path = ''): Promise<FolderFile[]> {
  const files: FolderFile[] = []
  for await (const [name, handle] of folder.entries()) {
    if (name.startsWith('.')) continue
    if (handle.kind === 'directory')
      files.push(...(await listFiles(handle as FileSystemDirectoryHandle, `${path}${name}/`)))
    else files.push({ path: path + name, file: await (handle as FileSystemFileHandle).getFile() })
  }
  return files
}

/** Adds paths to files and sorts by them. The first folder of a picked file's path is the picked folder itself. */
export function withPaths(files: FolderFiles): FolderFile[] {
  const named = [...files].map((file): FolderFile => {
    if (!(file instanceof Blob)) return file
    return { path: file.webkitRelativePath.split('/').slice(1).join('/') || file.name, file }
  })
  return named.filter(({ path }) => !/(^|\/)\./.test(path)).sort((a, b) => (a.path < b.path ? -1 : 1))
}
