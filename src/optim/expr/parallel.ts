import { isShared } from '../../ir/float-array.js'
import { type WasmMemory, wasmMemoryOf } from '../../ir/wasm-memory.js'
import type { Helpers } from '../../runtime/runtime.js'
import type { Formula } from './expr.js'
import { cutIntoPieces, evaluatePiece, type Piece, type SumsByTensor, type TensorArrays } from './pieces.js'
import type { Scalars } from './program.js'

/** Smallest number of elements for which other threads are woken. */
export const minParallelElements = 2 ** 15

/** A task is deleted if all tasks were used so often, on average, since it was used last. */
const keptUses = 64

/** A formula and its tensors, all in shared memory. */
interface Task {
  readonly id: number
  readonly formula: Formula
  readonly tensors: TensorArrays
  /** The sums of every piece, in shared memory. */
  readonly sums: Float64Array
  /** The memory that contains all tensors, if it is the same. */
  readonly memory: SharedMemory | undefined
}

/** A task that the helper threads have, and its pieces. */
interface Kept {
  readonly task: Task
  readonly pieces: readonly Piece[]
  /** The number of the evaluation that used it last. */
  lastUse: number
}

/** A memory and its number: a thread that receives it twice must not take it for two memories. */
interface SharedMemory {
  readonly id: number
  readonly memory: WasmMemory
}

/** Messages to the helper threads: they keep a task until it is deleted, so that an evaluation sends scalars only. */
type Message =
  | { readonly kind: 'create'; readonly task: Task }
  | { readonly kind: 'delete'; readonly id: number }
  | { readonly kind: 'collect' }
  | { readonly kind: 'evaluate'; readonly id: number; readonly scalars: Scalars }

let lastId = 0

/**
 * Evaluation of formulas in several threads. A tensor is cut into the same pieces as in one thread, each thread takes
 * the next piece, and sums are added up in the order of the pieces: the results are the same bit for bit.
 */
export class ParallelEvaluation {
  readonly #helpers: Helpers
  readonly #kept = new Set<Kept>()
  #evaluations = 0

  constructor(helpers: Helpers) {
    this.#helpers = helpers
  }

  /**
   * Evaluates a formula for each of several tensors, in place, and returns their sums; see `evaluateEach`. Returns
   * null, without any change, if an array is not in shared memory or the tensors are small.
   */
  evaluate(formula: Formula, tensors: TensorArrays, scalars: Scalars): SumsByTensor | null {
    const leading = Object.values(tensors)[0]!
    let elements = 0
    for (const { length } of leading) elements += length
    if (elements < minParallelElements) return null
    const kept = this.#find(formula, tensors) ?? this.#create(formula, tensors)
    if (!kept) return null
    const { task, pieces } = kept
    kept.lastUse = ++this.#evaluations
    const message: Message = { kind: 'evaluate', id: task.id, scalars }
    this.#helpers.run(message, pieces.length, (i) => execute(task, pieces[i]!, i, scalars))
    const names = Object.keys(formula.squares)
    const found = names.map((name, k) => {
      const sums = new Float64Array(leading.length)
      for (let i = 0; i < pieces.length; i++) sums[pieces[i]!.tensor]! += task.sums[i * names.length + k]!
      return [name, sums] as const
    })
    return Object.fromEntries(found)
  }

  /** Removes all references to tensors. */
  release(): void {
    if (this.#kept.size === 0) return
    for (const kept of this.#kept) this.#delete(kept)
    this.#helpers.send({ kind: 'collect' } satisfies Message)
  }

  #find(formula: Formula, tensors: TensorArrays): Kept | undefined {
    for (const kept of this.#kept) if (kept.task.formula === formula && isSame(kept.task.tensors, tensors)) return kept
    return undefined
  }

  #create(formula: Formula, tensors: TensorArrays): Kept | null {
    if (!Object.values(tensors).every((arrays) => arrays.every(({ buffer }) => isShared(buffer)))) return null
    // Tasks that have not been used for long have tensors that were replaced; but IRE's two masks are used in turn.
    const oldest = this.#evaluations - keptUses * this.#kept.size
    for (const kept of this.#kept) if (kept.lastUse < oldest) this.#delete(kept)
    const pieces = piecesOf(tensors)
    const sums = new Float64Array(new SharedArrayBuffer(8 * pieces.length * Object.keys(formula.squares).length))
    const task: Task = { id: ++lastId, formula, tensors, sums, memory: commonMemory(tensors) }
    this.#helpers.send({ kind: 'create', task } satisfies Message)
    const kept: Kept = { task, pieces, lastUse: 0 }
    this.#kept.add(kept)
    return kept
  }

  #delete(kept: Kept): void {
    this.#kept.delete(kept)
    this.#helpers.send({ kind: 'delete', id: kept.task.id } satisfies Message)
  }
}

/** Whether two sets have the same arrays. */
function isSame(a: TensorArrays, b: TensorArrays): boolean {
  for (const name in b) {
    const [known, given] = [a[name], b[name]!]
    if (known?.length !== given.length) return false
    for (let i = 0; i < given.length; i++) if (known[i] !== given[i]) return false
  }
  return true
}

const piecesOf = (tensors: TensorArrays): readonly Piece[] =>
  cutIntoPieces(Object.values(tensors)[0]!.map(({ length }) => length))

const numbered = new WeakMap<WasmMemory, SharedMemory>()

/** The memory of all tensors, if it is the same. */
function commonMemory(tensors: TensorArrays): SharedMemory | undefined {
  const all = new Set(Object.values(tensors).flatMap((arrays) => arrays.map(({ buffer }) => wasmMemoryOf(buffer))))
  const [memory] = all
  if (all.size !== 1 || !memory) return undefined
  const known = numbered.get(memory) ?? { id: ++lastId, memory }
  numbered.set(memory, known)
  return known
}

function execute({ formula, tensors, sums, memory }: Task, piece: Piece, index: number, scalars: Scalars): void {
  const found = evaluatePiece(formula, tensors, piece, scalars, memory?.memory)
  const names = Object.keys(formula.squares)
  for (const [k, name] of names.entries()) sums[index * names.length + k] = found[name]!
}

/**
 * Creates the function by which a helper thread handles the messages that it receives. For an evaluation it returns a
 * function that executes a piece.
 * @param collectGarbage is called after tasks were deleted: their arrays refer to memory that the thread does not count
 */
export function createReceiver(collectGarbage: () => void): (message: unknown) => ((piece: number) => void) | null {
  const tasks = new Map<number, { readonly task: Task; readonly pieces: readonly Piece[] }>()
  /** The first task of a memory has the object that all tasks use. */
  const unique = (received: SharedMemory): SharedMemory =>
    [...tasks.values()].find(({ task }) => task.memory?.id === received.id)?.task.memory ?? received
  return (received) => {
    const message = received as Message
    if (message.kind === 'collect') {
      collectGarbage()
      return null
    }
    if (message.kind === 'delete') {
      tasks.delete(message.id)
      return null
    }
    if (message.kind === 'create') {
      const { memory } = message.task
      const task = { ...message.task, memory: memory && unique(memory) }
      tasks.set(task.id, { task, pieces: piecesOf(task.tensors) })
      return null
    }
    const { task, pieces } = tasks.get(message.id)!
    return (i) => execute(task, pieces[i]!, i, message.scalars)
  }
}
