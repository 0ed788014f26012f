declare module 'virtual:demo' {
  /** Script and style of the page that runs a tuned model, as text. */
  const content: { readonly script: string; readonly style: string }
  export default content
}
