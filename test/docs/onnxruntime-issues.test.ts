import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { allIssues } from '../../tools/ort-issues/issues.js'

const root = new URL('../../', import.meta.url)
const text = readFileSync(new URL('docs/onnxruntime-issues.md', root), 'utf8')
const slugs = allIssues.map(({ slug }) => slug).sort()
const matches = (pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, match]) => match!).sort()

describe('docs/onnxruntime-issues.md', () => {
  it('has one section for every reproducer in tools/ort-issues, and no other', () => {
    expect(matches(/^### (.+)$/gm)).toEqual(slugs)
  })

  it('has one verdict for every reproducer in its table, and no other', () => {
    expect(matches(/^\| \[([\w-]+)\]/gm)).toEqual(slugs)
  })

  it('gives the command of every reproducer', () => {
    expect(matches(/`npm run ort-issues -- --only ([\w-]+)`$/gm)).toEqual(slugs)
  })

  it('names files that exist', () => {
    const files = matches(/`((?:src|tools|docs)\/[^`\s]+)`/g)
    expect(files.length).toBeGreaterThan(0)
    expect(files.filter((file) => !existsSync(new URL(file, root)))).toEqual([])
  })
})
