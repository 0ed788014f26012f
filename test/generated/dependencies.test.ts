import { existsSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { inRepository, productionDependencies, securityDocument } from './dependencies.js'

const dependencies = productionDependencies()

it('SECURITY.md lists the production dependencies, their licenses and install scripts', async () => {
  await expect(securityDocument()).toMatchFileSnapshot('../../SECURITY.md')
})

it('every production dependency has a checksum in package-lock.json', () => {
  expect(dependencies.length).toBeGreaterThan(50)
  expect(dependencies.filter(({ hasIntegrity }) => !hasIntegrity)).toEqual([])
})

it('installed packages have the licenses and install scripts of package-lock.json', () => {
  const installed = dependencies.filter(({ path }) => existsSync(inRepository(`${path}/package.json`)))
  expect(installed.length).toBeGreaterThan(40)
  const differences = installed.flatMap(({ path, license, hasInstallScript }) => {
    const own = JSON.parse(readFileSync(inRepository(`${path}/package.json`), 'utf8')) as {
      readonly license?: string
      readonly scripts?: Readonly<Record<string, string>>
    }
    const runs = ['preinstall', 'install', 'postinstall'].some((script) => own.scripts?.[script] !== undefined)
    return own.license === license && runs === hasInstallScript ? [] : [{ path, license: own.license, runs }]
  })
  expect(differences).toEqual([])
})
