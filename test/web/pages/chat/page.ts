import type { Action, Report } from './worker.js'

const find = <T extends HTMLElement = HTMLInputElement>(id: string) => document.getElementById(id) as T
const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' })
const send = (action: Action) => worker.postMessage(action)

find('model').onchange = () =>
  send({ kind: 'open', files: [...find('model').files!].map(withPath), gpu: find('gpu').checked })
find('teach').onclick = () => {
  const [epochs, lr] = [find('epochs').valueAsNumber, find('rate').valueAsNumber]
  send({ kind: 'teach', file: find('data').files![0]!, epochs, lr })
}
find('ask').onclick = () => send({ kind: 'ask', question: find('question').value })
find('take').onclick = () => send({ kind: 'take' })

/** A file with its path in the picked folder, which not every browser passes on to workers. */
const withPath = (file: File) => ({ path: file.webkitRelativePath.split('/').slice(1).join('/'), file })

worker.onmessage = ({ data }: MessageEvent<Report>) => {
  if (data.text) find('log').textContent += data.text
  if (data.files) find<HTMLElement>('files').replaceChildren(...data.files.map(createLink))
}

function createLink(file: File): HTMLElement {
  const link = document.createElement('a')
  return Object.assign(link, { textContent: file.name, href: URL.createObjectURL(file), download: file.name })
}
