import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type Adapter,
  type AdapterKind,
  adaptableLayers,
  adapterOf,
  applyAdapter,
  lora,
  makeLoraReady,
  mergeAdapter,
} from 'onnx-ire/adapter'
import { Random } from 'onnx-ire/data'
import { readModel, writeModel, writeOnnxAdapter, writePeftFolder } from 'onnx-ire/node'

/**
 * Writes adapters over the models of test/adapter/golden for verify.py: random ones, of every kind of layer, each as a
 * PEFT folder, beside the weights, merged, and as an .onnx_adapter with its base.
 */
const golden = fileURLToPath(new URL('../../test/adapter/golden', import.meta.url))
const [output] = process.argv.slice(2)
if (output === undefined) throw new Error('usage: tsx tools/adapters/write.ts FOLDER')

interface Variant {
  readonly base: 'mixed' | 'llama' | 'grouped'
  readonly kinds: readonly AdapterKind[]
  readonly r: (module: string) => number
  readonly alpha: number
  readonly rsLora?: true
  readonly half?: true
  readonly dora?: true
  /** Modules that are changed as a whole. */
  readonly saved?: readonly string[]
}

const variants: Readonly<Record<string, Variant>> = {
  linear: { base: 'llama', kinds: ['linear'], r: () => 4, alpha: 8 },
  rslora: { base: 'llama', kinds: ['linear'], r: () => 3, alpha: 5, rsLora: true },
  ranks: { base: 'llama', kinds: ['linear'], r: (module) => (module.endsWith('q_proj') ? 2 : 5), alpha: 7 },
  half: { base: 'llama', kinds: ['linear'], r: () => 4, alpha: 8, half: true },
  kinds: { base: 'mixed', kinds: ['linear', 'conv', 'embedding'], r: () => 3, alpha: 6 },
  dora: { base: 'mixed', kinds: ['linear', 'conv', 'embedding'], r: () => 2, alpha: 4, dora: true },
  grouped: { base: 'grouped', kinds: ['linear', 'conv'], r: () => 4, alpha: 6 },
  'grouped-dora': { base: 'grouped', kinds: ['linear', 'conv'], r: () => 4, alpha: 6, dora: true },
  saved: { base: 'mixed', kinds: ['linear'], r: () => 2, alpha: 4, saved: ['fc2', 'conv', 'embed'] },
}

/** Module paths of PyTorch where the exporter shortened them. */
const paths: Readonly<Record<string, string>> = { fc1: 'block.fc1', fc2: 'block.fc2' }

for (const [name, variant] of Object.entries(variants)) {
  const { base, kinds, r, alpha, rsLora = false, half = false, dora = false, saved = [] } = variant
  const model = await readModel(join(golden, `${base}.onnx`))
  const random = new Random(7).stream(name)
  const draw = (...dims: number[]) => {
    const length = dims.reduce((product, dim) => product * dim, 1)
    const data = random.fill(new Float32Array(length), 'normal').map((x) => 0.3 * x)
    if (!half) return { dtype: 'float32' as const, dims, data }
    // Bits of float16 numbers from 0.0156 to 2, with both signs.
    return {
      dtype: 'float16' as const,
      dims,
      data: Uint16Array.from(data, (x) => (x < 0 ? 0x8000 : 0) + 0x2400 + Math.floor(random.uniform() * 0x1c00)),
    }
  }
  const layers = adaptableLayers(model).filter(
    ({ kind, module }) => kinds.includes(kind) && module !== 'lm_head' && !saved.includes(module),
  )
  const whole = saved.length > 0 ? adapterOf(lora(model, { modulesToSave: saved })).saved! : []
  const adapter: Adapter = {
    layers: layers.map(({ module: exported, kind, in: inputs, out, kernel = [], groups = 1 }) => {
      const module = paths[exported] ?? exported
      const rank = r(module)
      return {
        module,
        kind,
        a: draw(rank, inputs, ...kernel),
        b: draw(out, rank / groups, ...kernel.map(() => 1)),
        scale: rsLora ? alpha / Math.sqrt(rank) : alpha / rank,
        ...(dora && {
          magnitude: { dtype: 'float32' as const, dims: [out], data: random.fill(new Float32Array(out), 'uniform') },
        }),
      }
    }),
    saved: whole.map(({ module, weight, bias }) => ({
      module: paths[module] ?? module,
      weight: draw(...weight.dims),
      ...(bias && { bias: draw(...bias.dims) }),
    })),
    config: { r: 5, alpha, rsLora, taskType: base === 'llama' ? 'CAUSAL_LM' : undefined } as Adapter['config'],
  }
  const folder = join(output, name)
  mkdirSync(folder, { recursive: true })
  await writePeftFolder(join(folder, 'peft'), adapter)
  const beside = applyAdapter(model, adapter)
  await writeModel(join(folder, 'beside.onnx'), beside)
  await writeModel(join(folder, 'merged.onnx'), mergeAdapter(beside))
  if (!dora && whole.length === 0) {
    await writeOnnxAdapter(join(folder, 'adapter.onnx_adapter'), adapter, { dtype: 'float32' })
    await writeModel(join(folder, 'base.onnx'), makeLoraReady(beside))
  }
  console.log(`${name}: ${layers.length} layers`)
}
