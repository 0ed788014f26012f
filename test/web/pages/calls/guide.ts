import { accuracy, adamw, crossEntropy, fromArrays, imageColumn, ire, labelColumn, Trainer } from 'onnx-ire'
import { checkpointFolder, readIdx, readModel, wasm, webgpu, writeModel } from 'onnx-ire/web'

/** The program of docs/browser.md, unchanged. */
export async function tune(report: (line: string) => void = console.info) {
  const runtime = await webgpu({ fallback: wasm })
  report(runtime.description)

  const model = await readModel('/exchange/digits.onnx')
  const pixels = await readIdx('/exchange/pixels.idx')
  const data = fromArrays({
    x: imageColumn(pixels, { size: 8, mean: 0.5, std: 0.5 }),
    labels: labelColumn(await readIdx('/exchange/labels.idx')),
  })

  const trainer = await Trainer.create(model, {
    loss: crossEntropy(),
    metrics: [accuracy()],
    optimizer: ire(adamw({ lr: 3e-3 }), { kappa: 2, gamma: 0.6, interval: 10 }),
    runtime,
    head: { classes: 5 },
    batchSize: 16,
  })
  const store = checkpointFolder('runs/digits')
  const resumed = await trainer.resume(store)
  if (resumed) report(`resuming from step ${resumed.step}`)
  for await (const { epoch, loss } of trainer.fit(data, { totalEpochs: 3, checkpoints: { store, everySteps: 50 } }))
    report(`epoch ${epoch}: loss ${loss.toFixed(3)}`)

  await writeModel(trainer.export(), 'digits-tuned.onnx')
  await trainer.dispose()
  await runtime.dispose()
}
