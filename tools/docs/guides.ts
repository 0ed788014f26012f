import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Application, type CommentDisplayPart, Converter, DocumentReflection } from 'typedoc'

const root = fileURLToPath(new URL('../..', import.meta.url))
const index = 'docs/README.md'

/** Adds the guides and the examples to the site of TypeDoc: every page that docs/README.md links to, in its order. */
export function load(app: Application): void {
  const pages = listPages()
  app.on('bootstrapEnd', () =>
    app.options.setValue(
      'projectDocuments',
      [...pages.keys()].map((page) => join(root, page)),
    ),
  )
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, document) => {
    const path = relative(root, document.project.files.getReflectionPath(document)!)
    const [, title] = headingOf(document.content)
    if (title === undefined) throw new Error(`${path} does not begin with a heading`)
    document.name = title
    document.frontmatter['group'] = pages.get(path)!
    if (path === 'docs/examples/README.md') addExamples(document)
  })
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    // TypeDoc writes the name of the project above the README, which begins with it too.
    const [first] = project.readme ?? []
    if (first) first.text = first.text.slice(headingOf([first])[0]?.length ?? 0)
  })
}

/** Pages with the group that they are shown in. */
function listPages(): Map<string, string> {
  const pages = new Map([[index, 'Guides']])
  let group = 'Guides'
  for (const line of readFileSync(join(root, index), 'utf8').split('\n')) {
    if (line.startsWith('Reference:')) group = 'Reference'
    for (const [, link] of line.matchAll(/\]\(([\w./-]+\.md)\)/g))
      pages.set(relative(root, join(root, 'docs', link!)), group)
  }
  const missing = listFiles(join(root, 'docs'), '.md')
    .map((file) => relative(root, file))
    .filter((page) => !pages.has(page) && /^docs\/(design\/)?[^/]+$/.test(page))
  if (missing.length > 0) throw new Error(`${index} has no link to ${missing.join(', ')}`)
  return pages
}

/** The heading that a page begins with, and its text. */
const headingOf = ([first]: readonly CommentDisplayPart[]): readonly string[] =>
  /^\s*# (.+)\n/.exec(first?.text ?? '') ?? []

/** Adds a page with the programs of each example, to which the links of the list lead. */
function addExamples(list: DocumentReflection): void {
  const folder = dirname(list.project.files.getReflectionPath(list)!)
  for (const { name } of readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
    const title = `Example: ${name}`
    const parts: CommentDisplayPart[] = [{ kind: 'text', text: `# ${title}` }]
    const programs = listFiles(join(folder, name), '.ts')
    for (const file of programs) {
      parts.push({ kind: 'text', text: `\n\n## ${relative(join(folder, name), file)}\n\n` })
      parts.push({ kind: 'code', text: `\`\`\`ts\n${readFileSync(file, 'utf8')}\`\`\`` })
    }
    const example = new DocumentReflection(title, list, parts, {})
    list.addChild(example)
    list.project.registerReflection(example, undefined, undefined)
    for (const file of [join(folder, name), ...programs])
      list.project.files.registerReflectionPath(file as never, example)
  }
}

/** Files of a folder and its folders with an ending, without those of installed packages and of the built site. */
function listFiles(folder: string, ending: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !ignored.has(name))
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return listFiles(path, ending)
    return entry.name.endsWith(ending) ? [path] : []
  })
}

const ignored = new Set(['site', 'node_modules', 'dist'])
