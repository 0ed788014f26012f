/**
 * An address of a module from which a worker starts under the policy of whoever starts it. A worker made from a file goes by
 * the headers of that file's response, of which a static site has none to choose: it could fetch from anywhere. One made
 * from a blob inherits the content security policy.
 */
export function inherited(module: string | URL): string {
  const address = new URL(module, location.href).href
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(address)}`], { type: 'text/javascript' }))
}
