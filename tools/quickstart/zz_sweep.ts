import { adamw, ire, sgd } from 'onnx-ire'
import { node, readModel } from 'onnx-ire/node'
import { digits, modelPath } from '/work/main/tools/quickstart/digits.js'
import { fineTune } from '/work/main/tools/quickstart/run.js'

const [which, epochs = '8', n = '600', seeds = '0'] = process.argv.slice(2)
const runtime = node({ threads: 1 })
const model = await readModel(modelPath)
const steps = Math.ceil(+n / 32) * +epochs
const make: Record<string, () => any> = {
  'rand-4e-3': () => ({ name: 'r', optimizer: adamw({ lr: 4e-3 }), weights: 'random' }),
  'rand-2e-3': () => ({ name: 'r', optimizer: adamw({ lr: 2e-3 }), weights: 'random' }),
  'rand-8e-3': () => ({ name: 'r', optimizer: adamw({ lr: 8e-3 }), weights: 'random' }),
}
for (const lr of [1e-3, 2e-3, 4e-3, 8e-3]) {
  make['adamw-' + lr] = () => ({ name: 'a', optimizer: adamw({ lr }), weights: 'pretrained' })
  for (const kappa of [1, 2, 4])
    for (const gamma of [0.6, 0.8, 0.9])
      for (const w of [0, 0.1, 0.5])
        make[`ire-${lr}-${kappa}-${gamma}-${w}`] = () => ({
          name: 'i',
          optimizer: ire(adamw({ lr }), { kappa, gamma, interval: 10, warmup: Math.ceil(w * steps) }),
          weights: 'pretrained',
        })
}
for (const name of which!.split(',')) {
  const accs = [],
    ls = []
  let sp = 0
  for (const seed of seeds.split(',').map(Number)) {
    const d = await digits(+n!, 1000, seed)
    const o = await fineTune(model, make[name]!(), d, { epochs: +epochs!, batchSize: 32, seed }, runtime, () => {})
    accs.push(o.heldOut.accuracy)
    ls.push(o.heldOut.loss)
    sp = o.secondsPerStep
  }
  console.log(
    name,
    accs.map((a) => a!.toFixed(3)).join(' '),
    'loss',
    ls.map((a) => a.toFixed(3)).join(' '),
    sp.toFixed(3),
  )
}
await runtime.dispose()
