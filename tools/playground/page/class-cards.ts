import { readPicture } from '../picture.js'
import type { ShownExample } from '../protocol.js'
import { byId, createElement } from './dom.js'
import { runGuarded, showStatus } from './status.js'
import { createThumbnail } from './thumbnail.js'

/** Source of the examples of the cards. */
export type CardMode = 'camera' | 'draw' | 'photos'

/** Milliseconds between two pictures while the button of a card is held. */
const recordingPace = 120

interface Card {
  readonly element: HTMLLIElement
  readonly field: HTMLInputElement
  readonly thumbs: HTMLUListElement
  readonly count: HTMLElement
  readonly pictures: { readonly pixels: ImageData; readonly element: HTMLLIElement }[]
}

/** The classes with their examples: cards with thumbnails, which can be recorded, drawn, added from files and deleted. */
export class ClassCards {
  readonly #list = byId<HTMLUListElement>('cards')
  readonly #onChange: () => void
  /** Returns the picture to add, from the camera or the pad. Throws if there is none. */
  readonly #take: (mode: 'camera' | 'draw') => ImageData
  readonly #undone = byId<HTMLButtonElement>('undo')
  #cards: Card[] = []
  /** Functions that take back the last changes. */
  #changes: (() => void)[] = []
  #isEdited = false

  constructor(take: (mode: 'camera' | 'draw') => ImageData, onChange: () => void) {
    this.#take = take
    this.#onChange = onChange
    byId('add-class').addEventListener('click', () => {
      const card = this.addClass()
      this.#remember(() => this.#removeCard(card))
      card.field.focus()
      card.field.select()
    })
    this.#undone.addEventListener('click', () => {
      this.#changes.pop()?.()
      this.#isEdited = true
      this.#update()
    })
  }

  /** Shows the controls of a way to take examples. */
  set mode(mode: CardMode) {
    this.#list.dataset['mode'] = mode
  }

  /** Names of the classes that have examples. */
  get classes(): readonly string[] {
    return this.#filled.map(({ field }) => field.value.trim())
  }

  /** Number of examples of each class that has examples. */
  get counts(): readonly number[] {
    return this.#filled.map(({ pictures }) => pictures.length)
  }

  get examples(): readonly ShownExample[] {
    return this.#filled.flatMap(({ field, pictures }) =>
      pictures.map(({ pixels }) => ({ pixels, label: field.value.trim() })),
    )
  }

  /** Whether somebody has changed the examples or the names since the cards were filled. */
  get isEdited(): boolean {
    return this.#isEdited
  }

  /** @throws if a name is missing or used twice */
  check(): void {
    const names = this.classes
    if (names.some((name) => name === '')) throw new Error('A class has no name: give it one.')
    const twice = names.find((name, i) => names.indexOf(name) !== i)
    if (twice !== undefined) throw new Error(`Two classes are called '${twice}': give one of them another name.`)
  }

  /** Replaces all cards. */
  reset(names: readonly string[]): void {
    this.#cards = []
    this.#changes = []
    this.#isEdited = false
    this.#list.replaceChildren()
    for (const name of names) this.addClass(name)
    this.#update()
  }

  get #filled(): readonly Card[] {
    return this.#cards.filter(({ pictures }) => pictures.length > 0)
  }

  addClass(name = this.#freeName()): { readonly field: HTMLInputElement } & Card {
    const field = createElement('input', { value: name, ariaLabel: 'Name of the class', autocomplete: 'off' })
    const count = createElement('span', { className: 'count' }, '0')
    const remove = createElement('button', { type: 'button', className: 'quiet', title: 'Delete this class' }, '×')
    const record = createElement('button', { type: 'button', className: 'record' }, 'Hold to record')
    const drawn = createElement('button', { type: 'button', className: 'add-drawn' }, 'Add the drawing')
    const files = createElement('input', { type: 'file', accept: 'image/*', multiple: true })
    const thumbs = createElement('ul', { className: 'thumbs' })
    const element = createElement(
      'li',
      {},
      createElement('div', { className: 'class-head' }, field, count, remove),
      createElement(
        'div',
        { className: 'actions' },
        record,
        drawn,
        createElement('label', { className: 'add-photos button' }, 'Add photos', files),
      ),
      thumbs,
    )
    const card: Card = { element, field, thumbs, count, pictures: [] }
    this.#cards.push(card)
    this.#list.append(element)
    const named = () => {
      const own = field.value.trim()
      for (const [
        button,
        text,
      ] of [[remove, 'Delete the class'], [record, 'Hold to record'], [drawn, 'Add the drawing'], [files, 'Add photos'], [thumbs, 'Examples']] as const) // biome-ignore format: pairs
        button.ariaLabel = `${text}: ${own}`
    }
    named()
    field.addEventListener('input', () => {
      named()
      this.#isEdited = true
      this.#onChange()
    })
    remove.addEventListener('click', () => {
      const at = this.#cards.indexOf(card)
      this.#removeCard(card)
      this.#remember(() => this.#insertCard(card, at))
    })
    this.#recordWhileHeld(record, card)
    drawn.addEventListener('click', () => runGuarded(drawn, async () => this.takeDrawing(this.#cards.indexOf(card))))
    files.addEventListener('click', () => {
      files.value = ''
    })
    files.addEventListener('change', () => runGuarded(files, () => this.#addFiles(card, [...(files.files ?? [])])))
    element.addEventListener('dragover', () => element.classList.add('over'))
    element.addEventListener('dragleave', () => element.classList.remove('over'))
    element.addEventListener('drop', (event) => {
      event.preventDefault()
      element.classList.remove('over')
      const dropped = [...(event.dataTransfer?.files ?? [])]
      if (dropped.length > 0) void runGuarded(null, () => this.#addFiles(card, dropped))
    })
    return card
  }

  /** Adds pictures to a class, without a way to take them back. */
  fill(index: number, pictures: readonly ImageData[]): void {
    for (const pixels of pictures) this.#addPicture(this.#cards[index]!, pixels)
    this.#update()
  }

  /** Adds the drawing to the class at a position. */
  takeDrawing(index: number): void {
    const card = this.#cards[index]
    if (!card) throw new Error(`There is no class ${index + 1}.`)
    this.#takeInto(card, 'draw')
  }

  #takeInto(card: Card, mode: 'camera' | 'draw'): void {
    const picture = this.#addPicture(card, this.#take(mode))
    this.#remember(() => this.#removePicture(card, picture))
    const total = this.#cards.reduce((sum, { pictures }) => sum + pictures.length, 0)
    showStatus(`${total} ${total === 1 ? 'example' : 'examples'} shown.`)
  }

  /** Records pictures while a button is held by pointer or key; a click records one. */
  #recordWhileHeld(button: HTMLButtonElement, card: Card): void {
    let timer = 0
    const stop = () => {
      clearInterval(timer)
      timer = 0
      button.classList.remove('recording')
    }
    const record = () => {
      try {
        this.#takeInto(card, 'camera')
      } catch (error) {
        stop()
        showStatus((error as Error).message, 'error')
      }
    }
    const start = () => {
      if (timer !== 0) return
      button.classList.add('recording')
      timer = window.setInterval(record, recordingPace)
      record()
    }
    button.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return
      button.setPointerCapture(event.pointerId)
      start()
    })
    for (const end of ['pointerup', 'pointercancel', 'blur'] as const) button.addEventListener(end, stop)
    button.addEventListener('contextmenu', (event) => event.preventDefault())
    button.addEventListener('keydown', (event) => {
      if (event.key !== ' ' && event.key !== 'Enter') return
      event.preventDefault()
      if (!event.repeat) start()
    })
    button.addEventListener('keyup', stop)
    // Screen readers send a click without pointer and keys.
    button.addEventListener('click', (event) => event.detail === 0 && timer === 0 && record())
  }

  async #addFiles(card: Card, files: readonly File[]): Promise<void> {
    const unread: string[] = []
    const added: Card['pictures'][number][] = []
    for (const [i, file] of files.entries()) {
      if (i % 10 === 0) showStatus(`Reading the pictures, ${i} of ${files.length} ...`)
      try {
        added.push(this.#addPicture(card, await readPicture(file)))
      } catch {
        unread.push(file.name)
      }
    }
    this.#remember(() => {
      for (const picture of added) this.#removePicture(card, picture)
    })
    showStatus(
      `${added.length} ${added.length === 1 ? 'picture' : 'pictures'} added.${skippedText(unread)}`,
      unread.length > 0 ? 'warning' : 'info',
    )
  }

  #addPicture(card: Card, pixels: ImageData): Card['pictures'][number] {
    const properties = { type: 'button', ariaLabel: 'Delete this example' } as const
    const button = createElement('button', properties, createThumbnail(pixels))
    const picture = { pixels, element: createElement('li', {}, button) }
    button.addEventListener('click', () => {
      const at = card.pictures.indexOf(picture)
      this.#removePicture(card, picture)
      this.#remember(() => {
        card.pictures.splice(at, 0, picture)
        this.#show(card)
      })
    })
    card.pictures.push(picture)
    card.thumbs.append(picture.element)
    card.count.textContent = String(card.pictures.length)
    return picture
  }

  /** Removes a picture, unless it was deleted while others were added. */
  #removePicture(card: Card, picture: Card['pictures'][number]): void {
    const at = card.pictures.indexOf(picture)
    if (at >= 0) card.pictures.splice(at, 1)
    this.#show(card)
  }

  #removeCard(card: Card): void {
    this.#cards = this.#cards.filter((each) => each !== card)
    card.element.remove()
  }

  #insertCard(card: Card, at: number): void {
    this.#cards.splice(at, 0, card)
    this.#list.replaceChildren(...this.#cards.map(({ element }) => element))
  }

  #show(card: Card): void {
    card.thumbs.replaceChildren(...card.pictures.map(({ element }) => element))
    card.count.textContent = String(card.pictures.length)
  }

  #remember(takeBack: () => void): void {
    this.#changes.push(takeBack)
    this.#isEdited = true
    this.#update()
  }

  #update(): void {
    this.#undone.disabled = this.#changes.length === 0
    this.#onChange()
  }

  #freeName(): string {
    const names = new Set(this.#cards.map(({ field }) => field.value.trim()))
    let i = this.#cards.length + 1
    while (names.has(`Class ${i}`)) i++
    return `Class ${i}`
  }
}

/** A sentence about files that could not be read; empty if all were read. */
export function skippedText(unread: readonly string[]): string {
  if (unread.length === 0) return ''
  const some = unread.slice(0, 3).join(', ')
  const names = unread.length > 3 ? `${some} and ${unread.length - 3} more` : some
  return ` ${unread.length} ${unread.length === 1 ? 'file' : 'files'} could not be read as a picture and ${unread.length === 1 ? 'was' : 'were'} skipped: ${names}.`
}
