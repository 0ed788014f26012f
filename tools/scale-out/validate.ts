import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { Command } from 'commander'
import { parse } from 'yaml'

/**
 * `npx tsx tools/scale-out/validate.ts FOLDER`: checks the files of Kubernetes in deploy/mpi with the schemas of their
 * operators. FOLDER has the custom resource definitions: manifests/base/kubeflow.org_mpijobs.yaml of
 * github.com/kubeflow/mpi-operator, and trainer.kubeflow.org_{clustertrainingruntimes,trainjobs}.yaml in
 * manifests/base/crds of github.com/kubeflow/trainer. Fields that a schema does not have are errors.
 */
interface Definition {
  readonly spec: {
    readonly group: string
    readonly names: { readonly kind: string }
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }[]
  }
}

type Schema = { readonly [key: string]: unknown }

const command = new Command('validate').argument('<folder>', 'the custom resource definitions').parse()
const [folder] = command.processedArgs as [string]
const deploy = fileURLToPath(new URL('../../deploy/mpi/', import.meta.url))

const schemas = new Map<string, Schema>()
for (const file of yamlFiles(folder)) {
  const { spec } = parse(readFileSync(join(folder, file), 'utf8')) as Definition
  for (const { name, schema } of spec.versions)
    schemas.set(`${spec.group}/${name} ${spec.names.kind}`, closed(schema.openAPIV3Schema))
}
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false })
for (const file of yamlFiles(deploy)) {
  const resource = parse(readFileSync(join(deploy, file), 'utf8')) as { apiVersion: string; kind: string }
  const kind = `${resource.apiVersion} ${resource.kind}`
  const schema = schemas.get(kind)
  const errors = schema === undefined ? [`no definition of ${kind} in ${folder}`] : errorsOf(schema, resource)
  console.log(`${file}: ${errors.length === 0 ? `a valid ${kind}` : errors.join('\n  ')}`)
  if (errors.length > 0) process.exitCode = 1
}

function yamlFiles(path: string): string[] {
  return readdirSync(path).filter((name) => name.endsWith('.yaml'))
}

function errorsOf(schema: Schema, resource: unknown): string[] {
  ajv.validate(schema, resource)
  return (ajv.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  )
}

/** Returns a schema without other fields than its own: Kubernetes removes them without an error. */
function closed(schema: unknown): Schema {
  const copy = structuredClone(schema) as Record<string, unknown>
  for (const [key, value] of Object.entries(copy)) {
    if (key === 'properties')
      copy[key] = Object.fromEntries(Object.entries(value as Schema).map(([name, each]) => [name, closed(each)]))
    if (key === 'items') copy[key] = closed(value)
    if (key === 'additionalProperties' && typeof value === 'object') copy[key] = closed(value)
  }
  const isOpen = copy['x-kubernetes-preserve-unknown-fields'] === true || copy['additionalProperties'] !== undefined
  // The schemas leave apiVersion, kind and metadata to Kubernetes, which has all of metadata's fields.
  if (copy['properties'] && !isOpen) copy['additionalProperties'] = false
  if (copy['x-kubernetes-int-or-string'] === true) copy['type'] = ['integer', 'string']
  return copy
}
