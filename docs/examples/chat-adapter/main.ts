/** A chat model learns the answers of a data file with an adapter (LoRA) over its weights in 4 bits. */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { adamw, perplexity, Trainer } from 'onnx-ire'
import { adapterOf, applyAdapter, lora } from 'onnx-ire/adapter'
import { chatData, nextToken, readLanguageModel, TextGenerator, trainingModel } from 'onnx-ire/language'
import { modelFolder, node, readJsonRows, writeModelFolder, writePeftFolder } from 'onnx-ire/node'

const folder = 'SmolLM2-135M-Instruct'
const conversations = 40
const epochs = 3
const lr = 1e-3

if (!existsSync(folder)) {
  console.log(`Download the model first: git clone https://huggingface.co/HuggingFaceTB/${folder} (needs git-lfs)`)
  process.exit(1)
}

// Replace this by your own conversations.
const answers = [
  ['How do I reset my password?', 'Open Settings, choose Account, then Reset password.'],
  ['I forgot my password.', 'Open Settings, choose Account, then Reset password.'],
  ['Where is my invoice?', 'Open Settings, choose Billing, then Invoices.'],
  ['Can I get a receipt?', 'Open Settings, choose Billing, then Invoices.'],
] as const
if (!existsSync('support.jsonl')) {
  const rows = Array.from({ length: conversations }, (_, i) => {
    const [question, answer] = answers[i % answers.length]!
    return {
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: answer },
      ],
    }
  })
  await writeFile('support.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}

const chat = await readLanguageModel(modelFolder(folder), { dtype: 'q4' })
const data = chatData(await readJsonRows('support.jsonl'), chat, { length: 512, batchSize: 4 })
for (const warning of data.report.warnings) console.warn(warning)
console.log(`${data.report.examples} examples, ${data.report.counted} of ${data.report.tokens} tokens are learned`)

const runtime = node()
const trainer = await Trainer.create(trainingModel(lora(chat.model, { r: 16, alpha: 32, taskType: 'CAUSAL_LM' })), {
  loss: nextToken(),
  optimizer: adamw({ lr }),
  schedule: { kind: 'cosine', warmup: 2 },
  clipNorm: 1,
  batchSize: 4,
  microBatch: 1,
  metrics: [perplexity()],
  runtime,
})
const perplexityNow = async () => ((await trainer.evaluate(data))['perplexity'] as number).toFixed(2)
console.log(`before: perplexity ${await perplexityNow()}`)
for await (const { epoch, loss } of trainer.fit(data, { totalEpochs: epochs }))
  console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(3)}`)
console.log(`after: perplexity ${await perplexityNow()}`)

const adapter = adapterOf(trainer.export())
await trainer.dispose()
await writePeftFolder('adapter', adapter) // for Python: peft, vLLM, llama.cpp
const tuned = { ...chat, model: applyAdapter(chat.model, adapter) }
await writeModelFolder('tuned', chat, tuned.model) // for transformers.js, and npx onnx-ire chat tuned

for (const [name, model] of [
  ['base', chat],
  ['tuned', tuned],
] as const) {
  const generator = await TextGenerator.create(model, runtime)
  process.stdout.write(`${name}: `)
  const question = [{ role: 'user', content: answers[0][0] }]
  for await (const piece of generator.generate(question, { maxTokens: 40 })) process.stdout.write(piece)
  console.log()
  await generator.dispose()
}
await runtime.dispose()
