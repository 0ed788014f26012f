/** The webcam, shown in a video element; its images do not leave the page. */
export class Camera {
  readonly #video: HTMLVideoElement
  #stream: MediaStream | undefined

  constructor(video: HTMLVideoElement) {
    this.#video = video
  }

  get on(): boolean {
    return this.#stream !== undefined
  }

  /** Starts the camera. Throws if no camera exists or its use is not permitted. */
  async start(): Promise<void> {
    if (!navigator.mediaDevices)
      throw new Error('This page may not use a camera: open it over https or from localhost.')
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 320 }, audio: false })
    } catch (cause) {
      const { name, message } = cause as DOMException
      throw new Error(
        name === 'NotAllowedError'
          ? 'The camera was not allowed: allow it in the address bar and try again.'
          : `There is no camera to use: ${message}`,
      )
    }
    this.#video.srcObject = this.#stream
    await this.#video.play()
  }

  stop(): void {
    for (const track of this.#stream?.getTracks() ?? []) track.stop()
    this.#stream = undefined
    this.#video.srcObject = null
  }

  /** Reads the central square of the image. */
  get pixels(): ImageData {
    const { videoWidth, videoHeight } = this.#video
    const side = Math.min(videoWidth, videoHeight)
    const canvas = new OffscreenCanvas(224, 224)
    const context = canvas.getContext('2d', { willReadFrequently: true })!
    context.drawImage(this.#video, (videoWidth - side) / 2, (videoHeight - side) / 2, side, side, 0, 0, 224, 224)
    return context.getImageData(0, 0, 224, 224)
  }
}
