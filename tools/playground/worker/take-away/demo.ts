import demo from 'virtual:demo'
import { decodeModel, findScoreKind, OnnxIreError } from 'onnx-ire'
import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url'
import type { DemoSetup } from '../../demo/setup.js'
import type { ContenderName } from '../../protocol.js'
import type { TrainedRun } from './trained-run.js'

/** Permits nothing but the page itself: the model runs without a network. */
const policy =
  "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval'; style-src 'unsafe-inline'; img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'"

/**
 * Writes a page that runs a tuned model: one HTML file with the model and onnxruntime in it, which works without a
 * network, also opened as a file.
 */
export async function writeDemo(run: TrainedRun, contender: ContenderName): Promise<Blob> {
  const model = await run.tuned(contender)
  const setup = describe(run, model)
  const title = escapeHtml(setup.title)
  return new Blob(
    [
      `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${title}</title>
<style>${demo.style}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p>A model trained in a browser with onnx-ire. It runs in this page: nothing leaves it.</p>
<fieldset id="choices" hidden><legend>What to show the model</legend></fieldset>
<p id="say" role="status"></p>
<div id="demo"><div id="inputs"></div><div id="seen" role="group" aria-label="What the model sees"></div></div>
</main>
<script type="application/json" id="setup">${escapeScript(JSON.stringify(setup))}</script>
<script type="text/plain" id="model">`,
      await pack(new Blob([model as Uint8Array<ArrayBuffer>])),
      '</script>\n<script type="text/plain" id="runtime">',
      await pack(await fetchRuntime()),
      `</script>\n<script type="module">${escapeScript(demo.script)}</script>\n</body>\n</html>\n`,
    ],
    { type: 'text/html' },
  )
}

function describe(run: TrainedRun, bytes: Uint8Array): DemoSetup {
  const { form, usage, input, output, dtype, choice, summary, batch } = run
  const { classes } = usage
  const model = decodeModel(bytes)
  const list = classes.length > 6 ? `${classes.slice(0, 6).join(', ')}, ...` : classes.join(', ')
  const isDrawn = choice.kind === 'idx' || (choice.kind === 'shown' && choice.examples[0]!.pixels.width < 64)
  const first = isDrawn ? 'draw' : choice.kind === 'shown' ? 'camera' : 'photo'
  return {
    ...{ title: `Which is it: ${list}?`, classes, input, output, dtype, batch, scores: findScoreKind(model, output) },
    data:
      form.kind === 'image'
        ? { kind: 'image', image: usage.image!, first }
        : {
            kind: 'table',
            columns: (summary.columns ?? []).map(({ name, min, max, first: value }) => ({ name, min, max, value })),
          },
  }
}

/** Reads onnxruntime's WebAssembly, which a browser without a network has if it has trained on it. */
async function fetchRuntime(): Promise<Blob> {
  const response = await fetch(wasm).catch((cause) => {
    throw new OnnxIreError('io', 'The page with the model contains onnxruntime, which has to be fetched: go online', {
      cause,
    })
  })
  if (!response.ok) throw new OnnxIreError('io', `cannot fetch onnxruntime: ${response.status} ${response.statusText}`)
  return response.blob()
}

/** Compresses a file and encodes it as base64. */
async function pack(file: Blob): Promise<string> {
  const stream = file.stream().pipeThrough(new CompressionStream('gzip'))
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer())
  const parts: string[] = []
  // A multiple of three bytes has no padding.
  for (let i = 0; i < bytes.length; i += 0x6000) parts.push(btoa(String.fromCharCode(...bytes.subarray(i, i + 0x6000))))
  return parts.join('')
}

/** Text that can be the content of a script element. */
const escapeScript = (text: string): string => text.replaceAll(/<(?=\/script|!--|script)/gi, '\\u003C')

const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
