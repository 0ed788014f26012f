/** The page: passes the user's actions to the worker, and shows what it reports. */
import type { Action, Report } from './worker'

const find = <T extends HTMLElement = HTMLInputElement>(id: string) => document.getElementById(id) as T
const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' })
const send = (action: Action) => worker.postMessage(action)

find<HTMLButtonElement>('train').onclick = () => {
  setTraining(true)
  send({ kind: 'train', photos: [...find('photos').files!].map(withPath), gpu: find('gpu').checked })
}
find<HTMLButtonElement>('stop').onclick = () => send({ kind: 'stop' })
find('image').onchange = () => {
  const [file] = find('image').files!
  if (file) send({ kind: 'classify', file })
}

worker.onmessage = ({ data }: MessageEvent<Report>) => {
  find<HTMLPreElement>('log').textContent += `${data.text}\n`
  if (data.model) {
    const href = URL.createObjectURL(new Blob([new Uint8Array(data.model)]))
    const link = Object.assign(document.createElement('a'), { href, download: 'tuned.onnx', textContent: 'tuned.onnx' })
    find('download').replaceChildren(link)
  }
  if (data.ended) setTraining(false)
}

/** A file with its path in the picked folder, which not every browser passes on to workers. */
const withPath = (file: File) => ({ path: file.webkitRelativePath.split('/').slice(1).join('/'), file })

function setTraining(isTraining: boolean): void {
  find<HTMLButtonElement>('train').disabled = isTraining
  find<HTMLButtonElement>('stop').disabled = !isTraining
}
