#!/usr/bin/env node
import { main } from './main.js'

// The reader of the output may close it early (head, less): this is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  throw error
})

process.exitCode = await main(process.argv.slice(2))
