import { launchChromium } from '../chromium.js'
import { buildPage, installNext, isNextInstalled, nextFolder, trainInPage } from './project.js'

/**
 * `npm run build && npx tsx tools/next/main.ts`: trains in Chromium with the worker of docs/examples/web-app and the
 * component of docs/browser.md, built with Next.js, the newest when it is installed for the first time. From then on
 * `npm run test:tools` does the same.
 */
if (!isNextInstalled()) installNext()
console.log(`Next.js is in ${nextFolder()}; delete the folder to install the newest`)
buildPage()
const { context, close } = await launchChromium()
try {
  const { cpu, gpu } = await trainInPage(await context.newPage())
  console.log(`${cpu}\n${gpu}`)
} finally {
  await close()
}
