import { readModel } from './dist/node/index.js'
import { readdirSync } from 'node:fs'
import { importGraph } from './dist/onnx/import/import-graph.js'
import { findTrainable } from './dist/graph/index.js'
for (const d of process.argv.slice(2)) for (const f of readdirSync(d)) {
  if (!f.endsWith('.onnx') || f.includes('truth') || /training|Inception|GoogLe|R3D|FCN|DeepLab|EfficientNet-B0|RegNet/.test(f)) continue
  try {
    const g = importGraph(await readModel(`${d}/${f}`))
    const t = findTrainable(g)
    const missed = [...g.parameters].filter(([n, p]) => !t.has(n) && /\./.test(n) && !/running/.test(n)).map(([n, p]) => `${n}[${p.shape}]`)
    const odd = [...t].filter(([n, p]) => p.shape!.reduce((a: any, b: any) => a * b, 1) < 2 || !/\.|val_/.test(n)).map(([n, p]) => `${n}[${p.shape}]`)
    if (missed.length || odd.length) console.log(f, '\n  MISSED', missed.join(' ').slice(0, 500), '\n  ODD', odd.join(' ').slice(0, 300))
  } catch (e) { console.log(f, String(e).slice(0, 200)) }
}
