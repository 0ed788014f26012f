import { defineConfig } from 'vitest/config'
import library, { inTools } from './vitest.config.js'

/**
 * `npm run test:tools`: tests of what measures the library, which is no part of the package, of every operator on WebGPU
 * in Chromium, which takes minutes, and of a page of Next.js, if that is installed.
 */
export default defineConfig({
  ...library,
  test: {
    ...library.test,
    include: inTools,
    globalSetup: './test/shared-build.ts',
    projects: undefined,
  },
})
