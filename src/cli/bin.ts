#!/usr/bin/env node
import { main } from './main.js'

// The reader of an output may disappear: it ends (head, less), or the terminal is closed. A run continues and saves.
const readerIsGone = ['EPIPE', 'EIO']

process.stderr.on('error', () => {}) // there is no place left to report it
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (readerIsGone.includes(error.code ?? '') || process.exitCode) return
  process.exitCode = 1
  process.stderr.write(`error (io): cannot write to standard output: ${error.message}\n`)
})

const code = await main(process.argv.slice(2))
process.exitCode ||= code
