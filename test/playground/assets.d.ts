/** Addresses of files that Vite adds to the playground. */
declare module '*?url' {
  const address: string
  export default address
}
