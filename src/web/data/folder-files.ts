/** A file in a folder. */
export interface FolderFile {
  /** Within the folder: 'daisy/1.jpg'. */
  readonly path: string
  readonly file: Blob
}

/** Files of a folder: those of an `<input type="file" webkitdirectory>`, or with paths of their own. */
export type FolderFiles = Iterable<File | FolderFile>

/** All files below a folder that was picked, dropped, or is the origin's own, however deep; names beginning with a dot are left out. */
export async function filesIn(folder: FileSystemDirectoryHandle, path = ''): Promise<FolderFile[]> {
  const files: FolderFile[] = []
  for await (const [name, handle] of folder.entries()) {
    if (name.startsWith('.')) continue
    if (handle.kind === 'directory')
      files.push(...(await filesIn(handle as FileSystemDirectoryHandle, `${path}${name}/`)))
    else files.push({ path: path + name, file: await (handle as FileSystemFileHandle).getFile() })
  }
  return files
}

/** With paths, sorted by them. The first folder of a picked file's path is the one that was picked. */
export function withPaths(files: FolderFiles): FolderFile[] {
  const named = [...files].map((file): FolderFile => {
    if (!(file instanceof Blob)) return file
    return { path: file.webkitRelativePath.split('/').slice(1).join('/') || file.name, file }
  })
  return named.filter(({ path }) => !/(^|\/)\./.test(path)).sort((a, b) => (a.path < b.path ? -1 : 1))
}
