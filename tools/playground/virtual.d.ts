declare module 'virtual:digits' {
  /** Address of a picture with a row of images for each digit. */
  const address: string
  export default address
}
