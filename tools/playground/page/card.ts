import { colorOf } from './curves.js'

/** Size of the card, in pixels: that of previews of links. */
const [width, height] = [1200, 630]
const margin = 48

/** Draws the curves and results of a run as a PNG picture. */
export async function drawCard(): Promise<Blob> {
  const { color, backgroundColor, fontFamily } = getComputedStyle(document.body)
  const canvas = document.createElement('canvas')
  Object.assign(canvas, { width, height })
  const context = canvas.getContext('2d')!
  context.fillStyle = backgroundColor
  context.fillRect(0, 0, width, height)
  context.fillStyle = color
  context.textBaseline = 'top'
  context.font = `600 40px ${fontFamily}`
  context.fillText('Fine-tuned in the browser', margin, margin, width - 2 * margin)
  context.font = `24px ${fontFamily}`
  const rows = [...document.querySelectorAll('#results-body tr')]
  for (const [i, row] of rows.entries()) {
    const [name, , , accuracy] = [...row.children].map((cell) => cell.textContent ?? '')
    const top = margin + 60 + 36 * i
    context.fillStyle = colorOf(`--${(row.firstElementChild as HTMLElement).dataset['contender']}`)
    context.fillRect(margin, top + 9, 36, 6)
    context.fillStyle = color
    context.fillText(`${name}: ${accuracy} of the held-out examples are right`, margin + 48, top)
  }
  const charts = [...document.querySelectorAll<HTMLCanvasElement>('.charts canvas')].filter((chart) =>
    chart.checkVisibility(),
  )
  const top = margin + 60 + 36 * rows.length + 24
  const place = (width - 2 * margin) / Math.max(1, charts.length)
  for (const [i, chart] of charts.entries()) {
    const scale = Math.min((place - 16) / chart.width, (height - margin - top - 32) / chart.height)
    const title = chart.closest('.uplot')?.querySelector('.u-title')?.textContent ?? ''
    context.fillText(title, margin + i * place, top, place)
    context.drawImage(chart, margin + i * place, top + 36, chart.width * scale, chart.height * scale)
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The picture could not be drawn.'))), 'image/png')
  })
}
