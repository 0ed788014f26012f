import { cropSquare } from '../picture.js'

/** The webcam, shown in video elements; its images do not leave the page. */
export class Camera {
  readonly #videos: readonly HTMLVideoElement[]
  readonly #onLost: () => void
  #stream: MediaStream | undefined
  /** Number of starts and stops: a start during which another one or a stop follows has no effect. */
  #changes = 0
  /** The camera towards the user, or on phones the rear one. */
  #facing: 'user' | 'environment' = 'user'

  /** @param onLost called when the camera ends by itself, as when it is unplugged */
  constructor(videos: readonly HTMLVideoElement[], onLost: () => void) {
    this.#videos = videos
    this.#onLost = onLost
  }

  get on(): boolean {
    return this.#stream !== undefined
  }

  /** Starts the camera. Throws if no camera exists or its use is not permitted. */
  async start(): Promise<void> {
    if (!navigator.mediaDevices)
      throw new Error('This page may not use a camera: open it over https or from localhost.')
    const change = ++this.#changes
    let stream: MediaStream
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: 320 }, height: { ideal: 320 }, facingMode: this.#facing },
        audio: false,
      })
    } catch (cause) {
      if (change !== this.#changes) return
      const { name, message } = cause as DOMException
      throw new Error(
        name === 'NotAllowedError'
          ? 'The camera was not allowed: allow it in the address bar and try again.'
          : `There is no camera to use: ${message}`,
      )
    }
    if (change !== this.#changes) return end(stream)
    this.stop()
    this.#stream = stream
    for (const track of stream.getTracks())
      track.addEventListener('ended', () => {
        if (this.#stream !== stream) return
        this.stop()
        this.#onLost()
      })
    await Promise.all(
      this.#videos.map((video) => {
        video.srcObject = stream
        // People expect a mirror. The pixels are not mirrored.
        video.style.transform = this.#facing === 'user' ? 'scaleX(-1)' : ''
        return video.play()
      }),
    )
  }

  /** Switches between the front and the rear camera. */
  async turn(): Promise<void> {
    this.#facing = this.#facing === 'user' ? 'environment' : 'user'
    this.stop()
    await this.start()
  }

  /** Whether the device has several cameras; known after one was started. */
  async hasSeveral(): Promise<boolean> {
    const devices = await navigator.mediaDevices.enumerateDevices()
    return devices.filter(({ kind }) => kind === 'videoinput').length > 1
  }

  stop(): void {
    this.#changes++
    if (this.#stream) end(this.#stream)
    this.#stream = undefined
    for (const video of this.#videos) video.srcObject = null
  }

  /** Reads the central square of the image. */
  get pixels(): ImageData {
    const [video] = this.#videos
    return cropSquare(video!, video!.videoWidth, video!.videoHeight)
  }
}

function end(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop()
}
