import { defineConfig } from 'vitest/config'
import library from './vitest.config.js'

/** `npm run test:tools`: tests of what measures the library, which is no part of the package. */
export default defineConfig({
  ...library,
  test: { ...library.test, include: ['test/{bench,experiments,gpu,torture}/**/*.test.ts'], projects: undefined },
})
