/**
 * Creates a blob URL of a module worker, so that the worker inherits the content security policy of its creator. A
 * worker started from a file has the policy of the headers of that file instead, which a static site cannot set, so it
 * could fetch from anywhere.
 */
export function createBlobModuleUrl(module: string | URL): string {
  const address = new URL(module, location.href).href
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(address)}`], { type: 'text/javascript' }))
}
