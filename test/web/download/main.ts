import { accuracy, adamw, crossEntropy, fromArrays, imageColumn, ire, labelColumn, split, Trainer } from 'onnx-ire'
import { checkpointFolder, readIdx, readModel, wasm, webgpu, writeModel } from 'onnx-ire/web'

/** A page that loads a model file, fine-tunes it with checkpoints, and exports it. */
async function fineTune(where: 'wasm' | 'webgpu', model: string): Promise<number> {
  const runtime = where === 'wasm' ? await wasm({ threads: 1 }) : await webgpu()
  const pixels = await readIdx('/exchange/pixels.idx')
  const data = fromArrays({
    x: imageColumn(pixels, { mean: 0.5, std: 0.5 }),
    labels: labelColumn(await readIdx('/exchange/labels.idx')),
  })
  const { train, validation } = split(data, { validation: 0.25, seed: 0 })
  const trainer = await Trainer.create(await readModel(`/exchange/${model}`), {
    loss: crossEntropy(),
    metrics: [accuracy()],
    optimizer: ire(adamw({ lr: 1e-3 }), { kappa: 2, gamma: 0.6, interval: 2 }),
    runtime,
    batchSize: 8,
  })
  let last = Number.NaN
  const store = checkpointFolder(`${where}/${model}`)
  for await (const { loss } of trainer.fit(train, { totalSteps: 4, validation, checkpoints: { store, everySteps: 2 } }))
    last = loss
  await writeModel(trainer.export(), `${where}-${model}`)
  await trainer.dispose()
  await runtime.dispose()
  return last
}

Object.assign(globalThis, { fineTune })
