import { Float16Array } from '@petamoriken/float16'
import { imageColumn } from 'onnx-ire'
import { pixels } from 'onnx-ire/web'
import * as ort from 'onnxruntime-web/wasm'
import { Camera } from '../page/camera.js'
import { byId, createElement } from '../page/dom.js'
import { Pad } from '../page/pad.js'
import { readPicture } from '../picture.js'
import type { DemoSetup } from './setup.js'

/** Milliseconds between two pictures of the webcam. */
const pace = 120

const setup: DemoSetup = JSON.parse(byId('setup').textContent!)

/** Decodes a file that is stored in the page, gzipped and as base64. */
async function unpack(id: string): Promise<Uint8Array> {
  const text = byId(id).textContent!
  const packed = Uint8Array.from(atob(text), (each) => each.charCodeAt(0))
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

/** Number of classes up to which all are shown, in their order; of more the most likely ones are. */
const shownClasses = 10

/** Shows the probabilities of the classes. */
function show(scores: Float32Array): void {
  const most = Math.max(...scores)
  const powers = Array.from(scores, (score) =>
    setup.scores === 'probabilities' ? score : Math.exp(setup.scores === 'logits' ? score - most : score),
  )
  const sum = setup.scores === 'logits' ? powers.reduce((a, b) => a + b) : 1
  const best = Math.max(...powers)
  let rows = powers.map((power, i) => ({ name: setup.classes[i] ?? String(i), power, share: power / sum }))
  if (rows.length > shownClasses) rows = rows.sort((a, b) => b.share - a.share).slice(0, 5)
  byId('seen').replaceChildren(
    ...rows.flatMap(({ name, power, share }) => [
      createElement(power === best ? 'b' : 'span', {}, name),
      createElement('meter', { value: share, max: 1, ariaLabel: name }),
      createElement('span', {}, `${(100 * share).toFixed(0)} %`),
    ]),
  )
}

/** The elements of a tensor of float32 or float16, whose bits browsers without Float16Array return. */
function toNumbers({ data }: ort.Tensor): Float32Array {
  return Float32Array.from(
    data instanceof Uint16Array ? new Float16Array(data.buffer, data.byteOffset, data.length) : (data as Float32Array),
  )
}

/** A function that runs the model on one example. */
async function load(): Promise<(data: Float32Array, dims: readonly number[]) => Promise<void>> {
  ort.env.wasm.wasmBinary = await unpack('runtime')
  // Several threads need headers, which a file cannot have.
  ort.env.wasm.numThreads = 1
  const session = await ort.InferenceSession.create(await unpack('model'))
  return async (data, dims) => {
    // A model whose file fixes the number of examples gets the same one several times.
    const all = new Float32Array(setup.batch * data.length)
    for (let i = 0; i < setup.batch; i++) all.set(data, i * data.length)
    const shape = [setup.batch, ...dims]
    const input =
      setup.dtype === 'float16'
        ? new ort.Tensor('float16', new Uint16Array(Float16Array.from(all).buffer), shape)
        : new ort.Tensor('float32', all, shape)
    const results = await session.run({ [setup.input]: input })
    const scores = results[setup.output]!
    show(toNumbers(scores).subarray(0, scores.size / setup.batch))
  }
}

const say = (text: string) => {
  byId('say').textContent = text
}
const failed = (error: unknown) => say(error instanceof Error ? error.message : String(error))

/** Runs `look` after every change, one at a time. */
function whenIdle(look: () => Promise<void>): () => void {
  let [isBusy, isPending] = [false, false]
  const run = async () => {
    isPending = true
    if (isBusy) return
    isBusy = true
    while (isPending) {
      isPending = false
      await look().catch(failed)
    }
    isBusy = false
  }
  return () => void run()
}

type Run = Awaited<ReturnType<typeof load>>

function startImages(run: Run, { image, first }: Extract<DemoSetup['data'], { kind: 'image' }>): void {
  const look = async (picture: ImageData) => {
    const { data, dims } = imageColumn(await pixels(picture, { background: 0 }), image).rows([0])
    await run(data as Float32Array, dims.slice(1))
  }
  const video = createElement('video', { width: 224, height: 224, muted: true, playsInline: true, ariaLabel: 'Webcam' })
  const camera = new Camera([video], () => say('The webcam has ended: connect it, and open this page again.'))
  const canvas = createElement('canvas', { width: 224, height: 224, tabIndex: 0, ariaLabel: 'Canvas to draw on' })
  canvas.setAttribute('role', 'application')
  const file = createElement('input', { type: 'file', accept: 'image/*', ariaLabel: 'Photo' })
  const picture = createElement('img', { alt: 'The photo', hidden: true })
  const drawing = createElement('div', { id: 'draw' }, canvas)
  const clear = createElement('button', { type: 'button', textContent: 'Clear' })
  drawing.append(clear)
  const parts = {
    draw: drawing,
    camera: createElement('div', { id: 'camera' }, video),
    photo: createElement('div', { id: 'photo' }, file, picture),
  }
  byId('inputs').append(...Object.values(parts))
  const drawn = whenIdle(async () => (pad.empty ? undefined : look(pad.pixels)))
  // The pad reports that it is clear before it is assigned.
  const pad: Pad = new Pad(canvas, () => queueMicrotask(drawn))
  clear.addEventListener('click', () => pad.clear())
  const open = async (photo: File | undefined) => {
    if (!photo) return
    URL.revokeObjectURL(picture.src)
    picture.src = URL.createObjectURL(photo)
    picture.hidden = false
    await look(await readPicture(photo))
  }
  file.addEventListener('change', () => void open(file.files?.[0]).catch(failed))
  document.addEventListener('dragover', (event) => event.preventDefault())
  document.addEventListener('drop', (event) => {
    event.preventDefault()
    void choose('photo').then(() => open(event.dataTransfer?.files[0]).catch(failed))
  })
  const titles = { draw: 'Draw', camera: 'Webcam', photo: 'Photo' } as const
  const choose = async (mode: keyof typeof titles) => {
    say('')
    for (const [each, part] of Object.entries(parts)) part.hidden = each !== mode
    if (mode === 'camera') await camera.start().catch(failed)
    else camera.stop()
  }
  byId('choices').hidden = false
  byId('choices').append(
    ...(Object.keys(titles) as (keyof typeof titles)[]).map((mode) => {
      const radio = createElement('input', { type: 'radio', name: 'mode', value: mode, checked: mode === first })
      radio.addEventListener('change', () => void choose(mode))
      return createElement('label', {}, radio, titles[mode])
    }),
  )
  // The webcam starts when it is chosen.
  for (const [each, part] of Object.entries(parts)) part.hidden = each !== first
  if (first === 'camera') say('Choose Webcam to start it.')
  const film = async () => {
    if (camera.on && document.visibilityState === 'visible') await look(camera.pixels).catch(failed)
    setTimeout(film, pace)
  }
  void film()
}

function startTable(run: Run, columns: Extract<DemoSetup['data'], { kind: 'table' }>['columns']): void {
  // As many digits as float32 has.
  const text = (value: number) => String(Number(value.toPrecision(7)))
  const fields = columns.map(({ name, min, max, value }) => {
    const field = createElement('input', { type: 'number', step: 'any', value: text(value) })
    byId('inputs').append(createElement('label', {}, `${name} (${text(min)} to ${text(max)})`, field))
    return field
  })
  const look = whenIdle(async () => {
    const row = Float32Array.from(fields, (field) => field.valueAsNumber)
    if (row.every(Number.isFinite)) await run(row, [row.length])
  })
  byId('inputs').addEventListener('input', look)
  look()
}

try {
  say('Loading the model ...')
  const run = await load()
  say('')
  if (setup.data.kind === 'image') startImages(run, setup.data)
  else startTable(run, setup.data.columns)
  document.body.dataset['ready'] = 'true'
} catch (error) {
  failed(error)
}
