/** A file that the test in Node has put there. */
export async function taken(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(`/exchange/${name}`)
  if (!response.ok) throw new Error(`nothing called ${name} was put there`)
  return new Uint8Array(await response.arrayBuffer())
}

/** Hands a file to the test in Node. */
export async function put(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  await fetch(`/exchange/${name}`, { method: 'PUT', body: bytes })
}
