import { requirePackage } from '../../node/runtime/packages.js'
import { mapConcurrently } from '../../util/concurrent.js'
import { escapeHtml } from '../report/escape-html.js'
import type { MeasuredLabel } from './measure-labels.js'

/** Pixels of the longer side of a thumbnail. */
const side = 128

/** A page with the most doubtful labels and thumbnails of their images, in one file. */
export async function writeLabelPage(title: string, labels: readonly MeasuredLabel[]): Promise<string> {
  const thumbnails = await mapConcurrently(labels, 4, ({ file }) => createThumbnail(file))
  const figures = labels.map(({ example, given, preferred, margin }, i) => {
    const image = thumbnails[i] === undefined ? '' : `<img src="${thumbnails[i]}" alt="">`
    return `<figure>${image}<figcaption><b>${escapeHtml(given)}</b> or ${escapeHtml(preferred)}?<br><small>${escapeHtml(example)}<br>margin ${margin.toFixed(2)}</small></figcaption></figure>`
  })
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem }
figure { margin: 0; overflow-wrap: anywhere }
img { max-width: 100%; min-width: 4rem; image-rendering: auto }
</style>
<h1>${escapeHtml(title)}</h1>
<p>The label is in bold; the class after it is the one that the model preferred over the course of training.</p>
<main>
${figures.join('\n')}
</main>
</html>
`
}

/** A small JPEG as a data address; undefined if the example is no image. */
async function createThumbnail(file: string | undefined): Promise<string | undefined> {
  if (file === undefined || !/\.(jpe?g|png|webp|avif|gif)$/i.test(file)) return undefined
  const sharp = requirePackage<typeof import('sharp').default>('sharp', 'thumbnails')
  const image = sharp(file, { autoOrient: true }).resize(side, side, { fit: 'inside' }).flatten({ background: '#888' })
  return `data:image/jpeg;base64,${(await image.jpeg().toBuffer()).toString('base64')}`
}
