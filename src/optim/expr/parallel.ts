import { isShared } from '../../ir/float-array.js'
import { type WasmMemory, wasmMemoryOf } from '../../ir/wasm-memory.js'
import type { Helpers } from '../../runtime/runtime.js'
import type { Formula } from './expr.js'
import { addUp, cutIntoPieces, evaluatePiece, type Piece, type TensorArrays } from './pieces.js'
import type { Scalars, Sums } from './program.js'

/** Smallest number of elements for which other threads are woken. */
export const WORTHWHILE = 2 ** 15

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
  /** Tasks, with the number of the evaluation that used them last. */
  readonly #tasks = new Map<Task, number>()
  #evaluations = 0

  constructor(helpers: Helpers) {
    this.#helpers = helpers
  }

  /**
   * Evaluates a formula for each of several tensors, in place, and returns their sums; see `evaluateEach`. Returns
   * null, without any change, if an array is not in shared memory or the tensors are small.
   */
  evaluate(formula: Formula, tensors: TensorArrays, scalars: Scalars): readonly Sums[] | null {
    const lengths = Object.values(tensors)[0]!.map(({ length }) => length)
    if (lengths.reduce((a, b) => a + b, 0) < WORTHWHILE) return null
    const task = this.#find(formula, tensors) ?? this.#create(formula, tensors, lengths)
    if (!task) return null
    this.#tasks.set(task, ++this.#evaluations)
    const pieces = cutIntoPieces(lengths)
    const message: Message = { kind: 'evaluate', id: task.id, scalars }
    this.#helpers.run(message, pieces.length, (i) => execute(task, pieces[i]!, i, scalars))
    const names = Object.keys(formula.squares)
    const found = lengths.map((): Sums[] => [])
    for (const [i, { tensor }] of pieces.entries())
      found[tensor]!.push(Object.fromEntries(names.map((name, k) => [name, task.sums[i * names.length + k]!])))
    return found.map(addUp)
  }

  /** Removes all references to tensors. */
  release(): void {
    if (this.#tasks.size === 0) return
    for (const task of this.#tasks.keys()) this.#delete(task)
    this.#helpers.send({ kind: 'collect' } satisfies Message)
  }

  #find(formula: Formula, tensors: TensorArrays): Task | undefined {
    const names = Object.keys(tensors)
    return [...this.#tasks.keys()].find(
      (task) =>
        task.formula === formula &&
        names.every((name) => {
          const known = task.tensors[name]
          const arrays = tensors[name]!
          return known?.length === arrays.length && known.every((array, i) => array === arrays[i])
        }),
    )
  }

  #create(formula: Formula, tensors: TensorArrays, lengths: readonly number[]): Task | null {
    if (!Object.values(tensors).every((arrays) => arrays.every(({ buffer }) => isShared(buffer)))) return null
    // A step uses each task once or twice: others have tensors that were replaced.
    const oldest = this.#evaluations - 2 * this.#tasks.size
    for (const [task, used] of this.#tasks) if (used < oldest) this.#delete(task)
    const count = cutIntoPieces(lengths).length * Object.keys(formula.squares).length
    const sums = new Float64Array(new SharedArrayBuffer(8 * count))
    const task: Task = { id: ++lastId, formula, tensors, sums, memory: commonMemory(tensors) }
    this.#helpers.send({ kind: 'create', task } satisfies Message)
    return task
  }

  #delete(task: Task): void {
    this.#tasks.delete(task)
    this.#helpers.send({ kind: 'delete', id: task.id } satisfies Message)
  }
}

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
      const lengths = Object.values(task.tensors)[0]!.map(({ length }) => length)
      tasks.set(task.id, { task, pieces: cutIntoPieces(lengths) })
      return null
    }
    const { task, pieces } = tasks.get(message.id)!
    return (i) => execute(task, pieces[i]!, i, message.scalars)
  }
}
