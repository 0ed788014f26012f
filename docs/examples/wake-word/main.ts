/** A wake word: a small network finds a word in recordings, from examples of the word and of other sounds. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { adamw, binaryCrossEntropy, f1, fromArrays, predict, split, Trainer } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { input, modelOf, op, parameter, tensor } from 'onnx-ire/graph'
import { node, writeModel } from 'onnx-ire/node'

const recordings = 150
const epochs = 15

/** Samples per second, samples of a recording, samples between two spectra, and frequencies of a spectrum. */
const [rate, length, hop, bands] = [8000, 8000, 256, 32]

/** Reads a WAV file of 16 bits in mono; other files would be noise. */
async function readWav(path: string): Promise<Float32Array> {
  const file = await readFile(path)
  const parts = new Map<string, Buffer>()
  for (let at = 12; at + 8 <= file.length; ) {
    const size = file.readUInt32LE(at + 4)
    parts.set(file.toString('latin1', at, at + 4), file.subarray(at + 8, at + 8 + size))
    at += 8 + size + (size % 2)
  }
  const [form, data] = [parts.get('fmt '), parts.get('data')]
  const isPcm = form?.readUInt16LE(0) === 1 && form.readUInt16LE(2) === 1 && form.readUInt16LE(14) === 16
  if (!isPcm || !data || form.readUInt32LE(4) !== rate)
    throw new Error(`${path}: convert it: ffmpeg -i recording -ac 1 -ar ${rate} -c:a pcm_s16le ${path}`)
  return Float32Array.from({ length }, (_, i) => (2 * i + 2 <= data.length ? data.readInt16LE(2 * i) / 32768 : 0))
}

/** Writes a WAV file of 16 bits in mono. */
async function writeWav(path: string, samples: Float32Array): Promise<void> {
  const file = Buffer.alloc(44 + 2 * samples.length)
  file.write('RIFF', 0)
  file.writeUInt32LE(36 + 2 * samples.length, 4)
  file.write('WAVEfmt ', 8)
  for (const [at, value, bytes] of [
    [16, 16, 4],
    [20, 1, 2],
    [22, 1, 2],
    [24, rate, 4],
    [28, 2 * rate, 4],
    [32, 2, 2],
    [34, 16, 2],
  ] as const)
    file.writeUIntLE(value, at, bytes)
  file.write('data', 36)
  file.writeUInt32LE(2 * samples.length, 40)
  for (const [i, x] of samples.entries())
    file.writeInt16LE(Math.round(32767 * Math.max(-1, Math.min(1, x))), 44 + 2 * i)
  await writeFile(path, file)
}

// Replace this by your own recordings of a second, 8,000 samples per second: sounds/word/1.wav, sounds/other/1.wav.
const random = new Random(0)
/** Invents a sound: the word is two tones that rise; other sounds fall, stay, or are noise alone. */
function invent(isWord: boolean): Float32Array {
  const kind = isWord ? 1 : [-1, 0, 2][random.integer(3)]!
  const [start, low] = [random.integer(3000), 400 + random.integer(300)]
  const noise = 0.02 + 0.1 * random.uniform()
  let phase = 0
  return Float32Array.from({ length }, (_, i) => {
    const time = (i - start) / 4000
    const frequency = low + (kind === 1 ? 900 * time : kind === -1 ? 900 * (1 - time) : 450)
    phase += (2 * Math.PI * frequency) / rate
    const tone = kind !== 2 && time >= 0 && time <= 1 ? 0.3 * Math.sin(phase) + 0.15 * Math.sin(2 * phase) : 0
    return tone + noise * random.normal()
  })
}
if (!existsSync('sounds'))
  for (const kind of ['word', 'other']) {
    await mkdir(`sounds/${kind}`, { recursive: true })
    for (let i = 0; i < recordings; i++) await writeWav(`sounds/${kind}/${i}.wav`, invent(kind === 'word'))
  }

/** Logarithms of the power at 32 frequencies up to 3,200 Hz: [frequencies, times]. */
const times = Math.floor((length - 2 * hop) / hop) + 1
const waves = Array.from({ length: bands }, (_, b) =>
  Float64Array.from({ length: 4 * hop }, (_, i) => {
    const window = 0.5 - 0.5 * Math.cos((Math.PI * (i >> 1)) / hop)
    const angle = (2 * Math.PI * 100 * (b + 1) * (i >> 1)) / rate
    return window * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
  }),
)
function spectrogram(samples: Float32Array): Float32Array {
  return Float32Array.from({ length: bands * times }, (_, at) => {
    const [wave, from] = [waves[Math.floor(at / times)]!, (at % times) * hop]
    let [real, imaginary] = [0, 0]
    for (let i = 0; i < 2 * hop; i++) {
      real += samples[from + i]! * wave[2 * i]!
      imaginary += samples[from + i]! * wave[2 * i + 1]!
    }
    return Math.log10(real * real + imaginary * imaginary + 1e-3)
  })
}

const files = await Promise.all(
  ['word', 'other'].map(async (kind) => (await readdir(`sounds/${kind}`)).map((name) => `sounds/${kind}/${name}`)),
)
const paths = files.flat().filter((path) => path.endsWith('.wav'))
const sounds = new Float32Array(paths.length * bands * times)
for (const [i, path] of paths.entries()) sounds.set(spectrogram(await readWav(path)), i * bands * times)
const data = fromArrays({
  x: { dims: [paths.length, bands, times], data: sounds },
  targets: { dims: [paths.length, 1], data: Float32Array.from(paths, (path) => (path.includes('/word/') ? 1 : 0)) },
})
const { train, validation } = split(data, { validation: 0.2 })

// Two convolutions over time, the largest value of every channel, and one number.
const drawn = (name: string, dims: readonly number[], fanIn: number) => {
  const count = dims.reduce((a, b) => a * b)
  const deviation = Math.sqrt(2 / fanIn)
  return parameter(
    name,
    tensor(
      'float32',
      dims,
      Float32Array.from({ length: count }, () => deviation * random.normal()),
    ),
  )
}
const x = input('x', 'float32', ['N', bands, times])
const first = op.Relu(op.Conv(x, drawn('conv0', [24, bands, 5], 5 * bands), { pads: [2, 2] }))
const second = op.Relu(op.Conv(first, drawn('conv1', [24, 24, 5], 120), { pads: [2, 2] }))
const heard = op.Gemm(op.ReduceMax(second, [2], { keepdims: 0 }), drawn('head', [24, 1], 24))
const model = modelOf({ name: 'wake', inputs: new Map([['x', x]]), outputs: new Map([['heard', heard]]) })

const runtime = node()
const trainer = await Trainer.create(model, {
  loss: binaryCrossEntropy(),
  optimizer: adamw({ lr: 2e-3 }),
  metrics: [f1()],
  batchSize: 16,
  runtime,
})
for await (const { epoch, loss, validation: measured } of trainer.fit(train, { totalEpochs: epochs, validation }))
  console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(3)}, F1 ${(measured!['f1'] as number).toFixed(3)}`)
await writeModel('wake.onnx', trainer.export())

// A longer recording, of which a second is heard every quarter of a second.
const recording = Float32Array.from(
  [invent(false), invent(false), invent(true), invent(false)].flatMap((each) => [...each]),
)
const starts = Array.from({ length: 13 }, (_, i) => (i * rate) / 4)
const heardParts = starts.flatMap((start) => [...spectrogram(recording.subarray(start, start + length))])
const parts = fromArrays({ x: { dims: [starts.length, bands, times], data: Float32Array.from(heardParts) } })
for await (const { outputs } of predict(trainer.export(), parts, { runtime })) {
  const scores = outputs['heard']!.data as Float32Array
  console.log(`the word is at ${starts[scores.indexOf(Math.max(...scores))]! / rate} s`)
}
await trainer.dispose()
await runtime.dispose()
