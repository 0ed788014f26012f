import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type * as TypeScript from '../tools/docs/node_modules/typescript/lib/typescript.js'

const root = fileURLToPath(new URL('..', import.meta.url))
/** TypeScript 6, which has a programming interface. */
const ts: typeof TypeScript = createRequire(join(root, 'tools/docs/package.json'))('typescript')

/** Files whose keys do not come from files or data, with the reason. */
const exceptions: Readonly<Record<string, string>> = {
  'util/record.ts': 'it defines the functions that all others use',
  'onnx/proto/decode.ts': 'its keys are the fields of the protobuf schema',
  'onnx/proto/encode.ts': 'its keys are the fields of the protobuf schema',
  'onnx/proto/message.ts': 'its keys are the fields of the protobuf schema',
  'onnx/proto/fields.ts': 'its keys are the kinds of fields of the protobuf schema',
  'optim/expr/evaluate.ts': 'its keys are names in the formula of an optimizer, which is code; it runs for every step',
  'optim/expr/interpreter.ts': 'its keys are names in the formula of an optimizer, which is code',
  'optim/expr/parallel.ts': 'its keys are names in the formula of an optimizer, which is code; it runs for every step',
  'optim/expr/pieces.ts': 'its keys are names in the formula of an optimizer, which is code; it runs for every step',
  'optim/expr/wgsl.ts': 'its keys are names in the formula of an optimizer, which is code',
  'optim/expr/wasm/assembler.ts': 'its keys are names of instructions',
  'optim/expr/wasm/compile.ts': 'its keys are names in the formula of an optimizer, which is code',
}

interface Finding {
  readonly file: string
  readonly line: number
  readonly text: string
}

/** Places that treat a record with keys from files like an object with fields. */
function findUnsafePlaces(sources: ReadonlyMap<string, string> | null): Finding[] {
  const source = join(root, 'src')
  const options: TypeScript.CompilerOptions = {
    ...{ strict: true, noUncheckedIndexedAccess: true, skipLibCheck: true, noEmit: true, types: [] },
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    lib: ['lib.es2023.d.ts'],
  }
  const host = ts.createCompilerHost(options)
  host.jsDocParsingMode = ts.JSDocParsingMode.ParseNone
  const { readFile, fileExists } = host
  host.readFile = (path) => sources?.get(path) ?? readFile.call(host, path)
  host.fileExists = (path) => sources?.has(path) || fileExists.call(host, path)
  const files = sources ? [...sources.keys()] : ts.sys.readDirectory(source, ['.ts'])
  const program = ts.createProgram(files, options, host)
  const checker = program.getTypeChecker()

  const isRecord = (node: TypeScript.Node): boolean => {
    const type = checker.getApparentType(checker.getNonNullableType(checker.getTypeAtLocation(node)))
    return (type.isUnion() ? type.types : [type]).some((each) => each.getStringIndexType() !== undefined)
  }
  const isText = (type: TypeScript.Type): boolean =>
    type.isUnion() ? type.types.some(isText) : (type.flags & (ts.TypeFlags.String | ts.TypeFlags.TemplateLiteral)) !== 0
  /** `record[key]`, which finds 'constructor' in an empty record; `record[key]!` asserts that the key is there. */
  const isUnsafeRead = (node: TypeScript.Node): boolean => {
    if (!ts.isElementAccessExpression(node) || ts.isLiteralExpression(node.argumentExpression)) return false
    const { parent } = node
    const isPlainTarget =
      ts.isBinaryExpression(parent) && parent.left === node && parent.operatorToken.kind === ts.SyntaxKind.EqualsToken
    if (isPlainTarget || ts.isNonNullExpression(parent) || ts.isDeleteExpression(parent)) return false
    // Types take most of the time of this file.
    return isText(checker.getTypeAtLocation(node.argumentExpression)) && isRecord(node.expression)
  }
  /** A mutable record with the prototype of objects, in which a key '__proto__' gets lost. */
  const isUnsafeRecord = (node: TypeScript.Node): boolean =>
    (ts.isVariableDeclaration(node) || ts.isPropertyDeclaration(node)) &&
    node.initializer !== undefined &&
    ts.isObjectLiteralExpression(node.initializer) &&
    node.initializer.properties.every(ts.isSpreadAssignment) &&
    /^(Record|\{ \[)/.test(node.type?.getText() ?? '') &&
    isRecord(node.name)
  /** `key in record`, which is true for 'constructor'. */
  const isUnsafeTest = (node: TypeScript.Node): boolean =>
    ts.isBinaryExpression(node) &&
    node.operatorToken.kind === ts.SyntaxKind.InKeyword &&
    isText(checker.getTypeAtLocation(node.left))

  return program.getSourceFiles().flatMap((file) => {
    const path = relative(source, file.fileName)
    if (!files.includes(file.fileName) || Object.hasOwn(exceptions, path)) return []
    const found: Finding[] = []
    const visit = (node: TypeScript.Node): void => {
      if (isUnsafeRead(node) || isUnsafeRecord(node) || isUnsafeTest(node)) {
        const { line } = file.getLineAndCharacterOfPosition(node.getStart())
        found.push({ file: path, line: line + 1, text: node.getText() })
      }
      ts.forEachChild(node, visit)
    }
    visit(file)
    return found
  })
}

describe('records with keys from files', () => {
  it('src > reads them by getOwn and Object.hasOwn, and creates them by emptyRecord', { timeout: 300_000 }, () => {
    expect(findUnsafePlaces(null)).toEqual([])
  })

  it.each([
    ['a read', 'export const f = (r: Record<string, number>, key: string) => r[key] ?? 0', 'r[key]'],
    ['a read that may create', 'export const f = (r: Record<string, number>, key: string) => (r[key] ??= 0)', 'r[key]'],
    ['a test', 'export const f = (r: Record<string, number>, key: string) => key in r', 'key in r'],
    ['an empty record', 'export const r: Record<string, number> = {}', 'r: Record<string, number> = {}'],
    [
      'a copy that is changed',
      'export const f = (s: object) => { const r: Record<string, unknown> = { ...s }; return r }',
      'r: Record<string, unknown> = { ...s }',
    ],
  ])('%s > is found', (_, text, place) => {
    const path = join(root, 'src', 'probe.ts')
    expect(findUnsafePlaces(new Map([[path, text]]))).toEqual([{ file: 'probe.ts', line: 1, text: place }])
  })

  it.each([
    ['an asserted read', 'export const f = (r: Record<string, number>, key: string) => r[key]!'],
    ['a fixed key', "export const f = (r: Record<string, number>) => r['fixed']"],
    ['a list', 'export const f = (r: readonly number[], key: number) => r[key]'],
    ['a constant table', 'export const r: Record<string, number> = { a: 1 }'],
    ['a discriminating field', "export const f = (r: { a: 1 } | { b: 2 }) => 'a' in r"],
  ])('%s > is allowed', (_, text) => {
    expect(findUnsafePlaces(new Map([[join(root, 'src', 'probe.ts'), text]]))).toEqual([])
  })
})
