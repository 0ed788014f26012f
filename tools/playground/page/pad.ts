import { createElement } from './dom.js'

/** Side of a drawing as an example, in pixels. */
const drawingSide = 28

/**
 * A canvas for drawing white on black, like MNIST, with pointer, touch or keyboard: arrow keys move the pen, Space
 * lowers or lifts it, Delete clears.
 */
export class Pad {
  readonly canvas: HTMLCanvasElement
  readonly #context: CanvasRenderingContext2D
  readonly #onChange: () => void
  /** Marks the position of the pen, outside of the canvas, since its pixels are the input of the models. */
  readonly #marker = createElement('span', { className: 'pen' })
  #pen: { x: number; y: number; down: boolean }
  #isExample = false

  constructor(canvas: HTMLCanvasElement, onChange: () => void) {
    this.canvas = canvas
    this.#context = canvas.getContext('2d', { willReadFrequently: true })!
    this.#onChange = onChange
    this.#pen = { x: canvas.width / 2, y: canvas.height / 2, down: false }
    const frame = createElement('div', { className: 'pad' })
    canvas.replaceWith(frame)
    frame.append(canvas, this.#marker)
    this.#mark()
    canvas.addEventListener('pointerdown', (event) => this.#begin(event))
    canvas.addEventListener('pointermove', (event) => this.#draw(event))
    for (const end of ['pointerup', 'pointercancel'] as const) canvas.addEventListener(end, () => this.#lift())
    canvas.addEventListener('keydown', (event) => this.#key(event))
    this.clear()
  }

  clear(): void {
    this.#isExample = false
    this.#context.fillStyle = '#000'
    this.#context.fillRect(0, 0, this.canvas.width, this.canvas.height)
    this.#onChange()
  }

  /** Whether the drawing is an example and not drawn by hand. */
  get isExample(): boolean {
    return this.#isExample
  }

  /** Draws an example, which the first stroke replaces. Reports no change. */
  showExample(pixels: ImageData): void {
    const source = new OffscreenCanvas(pixels.width, pixels.height)
    source.getContext('2d')!.putImageData(pixels, 0, 0)
    this.#context.imageSmoothingQuality = 'high'
    this.#context.drawImage(source, 0, 0, this.canvas.width, this.canvas.height)
    this.#isExample = true
  }

  /**
   * The drawing, scaled and centered as MNIST's digits are: its longer side takes 20 of 28 pixels. Place and size of a
   * drawing then do not matter. Black if nothing is drawn.
   */
  get pixels(): ImageData {
    const small = new OffscreenCanvas(drawingSide, drawingSide).getContext('2d', { willReadFrequently: true })!
    small.fillStyle = '#000'
    small.fillRect(0, 0, drawingSide, drawingSide)
    const box = this.#box
    if (box) {
      const scale = (drawingSide * (20 / 28)) / Math.max(box.width, box.height)
      const [width, height] = [box.width * scale, box.height * scale]
      const [x, y] = [(drawingSide - width) / 2, (drawingSide - height) / 2]
      small.imageSmoothingQuality = 'high'
      small.drawImage(this.canvas, box.x, box.y, box.width, box.height, x, y, width, height)
    }
    return small.getImageData(0, 0, drawingSide, drawingSide)
  }

  get empty(): boolean {
    return this.#box === null
  }

  /** The smallest rectangle around the drawing; null if nothing is drawn. */
  get #box(): { readonly x: number; readonly y: number; readonly width: number; readonly height: number } | null {
    const { width, height } = this.canvas
    const { data } = this.#context.getImageData(0, 0, width, height)
    let [left, top, right, bottom] = [width, height, -1, -1]
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        if (data[4 * (y * width + x)] === 0) continue
        left = Math.min(left, x)
        right = Math.max(right, x)
        top = Math.min(top, y)
        bottom = y
      }
    return right < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 }
  }

  #begin(event: PointerEvent): void {
    this.canvas.setPointerCapture(event.pointerId)
    this.#pen = { ...this.#place(event), down: true }
    this.#lineTo(this.#pen.x, this.#pen.y)
  }

  #draw(event: PointerEvent): void {
    if (!this.#pen.down) return
    const { x, y } = this.#place(event)
    this.#lineTo(x, y)
  }

  #lift(): void {
    this.#pen.down = false
    this.#mark()
  }

  #key(event: KeyboardEvent): void {
    const step = this.canvas.width / 28
    const moves: Readonly<Record<string, readonly [number, number]>> = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    }
    const move = moves[event.key]
    if (move) this.#lineTo(this.#pen.x + move[0], this.#pen.y + move[1])
    else if (event.key === ' ') {
      this.#pen.down = !this.#pen.down
      this.#lineTo(this.#pen.x, this.#pen.y)
    } else if (event.key === 'Delete' || event.key === 'Backspace') this.clear()
    else return
    event.preventDefault()
  }

  #lineTo(x: number, y: number): void {
    const [to, from] = [{ x: clamp(x, this.canvas.width), y: clamp(y, this.canvas.height) }, this.#pen]
    if (from.down) {
      if (this.#isExample) this.clear()
      const context = this.#context
      context.strokeStyle = '#fff'
      context.lineWidth = this.canvas.width / 11
      context.lineCap = 'round'
      context.lineJoin = 'round'
      context.beginPath()
      context.moveTo(from.x, from.y)
      context.lineTo(to.x, to.y)
      context.stroke()
      this.#onChange()
    }
    this.#pen = { ...to, down: from.down }
    this.#mark()
  }

  #mark(): void {
    const { x, y, down } = this.#pen
    this.#marker.style.left = `${(100 * x) / this.canvas.width}%`
    this.#marker.style.top = `${(100 * y) / this.canvas.height}%`
    this.#marker.classList.toggle('down', down)
  }

  /** Converts page to canvas coordinates: the canvas may be displayed at another size. */
  #place({ offsetX, offsetY }: PointerEvent): { x: number; y: number } {
    const { clientWidth, clientHeight, width, height } = this.canvas
    return { x: (offsetX / clientWidth) * width, y: (offsetY / clientHeight) * height }
  }
}

const clamp = (x: number, end: number): number => Math.min(Math.max(x, 0), end)
