// The workspace of the API reference has TypeScript 6: TypeScript 7 has no API for programs.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>
}

/** Declaration files of the package's entry points, by the name that users import: 'onnx-ire/data'. */
const entries = Object.entries(
  (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest).exports,
).flatMap(([entry, target]) =>
  typeof target === 'string' ? [] : [[`onnx-ire${entry.slice(1)}`, join(root, target.types)] as const],
)

/**
 * Declarations of every public name by entry point, as text without comments, sorted by name. Reads the compiled dist.
 */
export function publicApi(): Map<string, string> {
  const program = ts.createProgram(
    entries.map(([, file]) => file),
    {
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      skipLibCheck: true,
      noEmit: true,
      types: [],
    },
  )
  const checker = program.getTypeChecker()
  return new Map(
    entries.map(([name, file]) => {
      const module = checker.getSymbolAtLocation(program.getSourceFile(file)!)!
      const symbols = checker.getExportsOfModule(module).toSorted((a, b) => (a.name < b.name ? -1 : 1))
      return [name, `${symbols.flatMap((symbol) => describeSymbol(checker, symbol)).join('\n\n')}\n`]
    }),
  )
}

const printer = ts.createPrinter({ removeComments: true })

function describeSymbol(checker: ts.TypeChecker, symbol: ts.Symbol): string[] {
  const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  const declarations = target.declarations ?? []
  if (declarations.some(ts.isSourceFile)) {
    const names = checker.getExportsOfModule(target).map(({ name }) => name)
    return [`namespace ${symbol.name} { ${names.toSorted().join(', ')} }`]
  }
  return declarations.map((declaration) => {
    const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
    const text = printer.printNode(ts.EmitHint.Unspecified, withoutPrivate(statement), statement.getSourceFile())
    return text.replace(/^export (declare )?/, '')
  })
}

/** A class without its private members. */
function withoutPrivate(node: ts.Node): ts.Node {
  if (!ts.isClassDeclaration(node)) return node
  const isPublic = (member: ts.ClassElement) =>
    !(member.name && ts.isPrivateIdentifier(member.name)) &&
    !(ts.canHaveModifiers(member) && ts.getModifiers(member)?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword))
  const members = node.members.filter(isPublic)
  return ts.factory.updateClassDeclaration(
    node,
    node.modifiers,
    node.name,
    node.typeParameters,
    node.heritageClauses,
    members,
  )
}
