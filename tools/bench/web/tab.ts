import type { BrowserContext, Page } from 'playwright-core'
import type { Contender } from '../contender.js'
import type { Ready, Turn, Unable } from '../protocol.js'
import { cpuTimeOfChildren } from './cpu-time.js'

/** Settings of one library in a separate tab. */
export interface TabCommand {
  readonly name: string
  readonly library: 'ours' | 'tfjs' | 'jax'
  /** Backends in order of preference; the first that trains the model is used. */
  readonly backends: readonly string[]
}

/** A page that trains one model on request. */
export class Tab implements Contender {
  readonly name: string
  readonly #command: TabCommand
  readonly #browser: BrowserContext
  readonly #url: string
  readonly #problem: string
  readonly #timeout: number
  readonly #countsCpu: boolean
  readonly #beside: Tab | undefined
  #page: Page | undefined

  /**
   * @param problem folder below `url` with the files of `writeProblem`
   * @param options `timeout`: longest time to wait for an answer, in seconds; `cpu`: whether the time of a turn is that
   * of all processors instead of the clock; `beside`: one that was started before, whose page and runtime this shares
   */
  constructor(
    command: TabCommand,
    browser: BrowserContext,
    url: string,
    problem: string,
    { timeout, cpu = false, beside }: { readonly timeout: number; readonly cpu?: boolean; readonly beside?: Tab },
  ) {
    this.name = command.name
    this.#command = command
    this.#browser = browser
    this.#url = url
    this.#problem = problem
    this.#timeout = timeout
    this.#countsCpu = cpu
    this.#beside = beside
  }

  async start(): Promise<Ready | Unable> {
    if (this.#beside) this.#page = this.#beside.#page
    else {
      this.#page = await this.#browser.newPage()
      await this.#page.goto(this.#url)
      await this.#page.waitForFunction('globalThis.begin !== undefined')
    }
    const { library, backends } = this.#command
    return this.#answer<Ready>('begin', library, this.#problem, backends)
  }

  async run(steps: number): Promise<Turn | Unable> {
    await this.#page!.bringToFront()
    const index = this.#beside ? 1 : 0
    if (!this.#countsCpu) return this.#answer<Turn>('turn', index, steps)
    const before = cpuTimeOfChildren()
    const turn = await this.#answer<Turn>('turn', index, steps)
    return 'unable' in turn ? turn : { ...turn, seconds: cpuTimeOfChildren() - before }
  }

  peak(): undefined {
    return undefined
  }

  async stop(): Promise<void> {
    await this.#page?.close()
  }

  async #answer<T>(name: string, ...args: readonly unknown[]): Promise<T | Unable> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<Unable>((resolve) => {
      timer = setTimeout(() => resolve({ unable: `no answer within ${this.#timeout} s` }), 1000 * this.#timeout)
    })
    const call = this.#page!.evaluate(
      ([name, args]) =>
        (globalThis as unknown as Record<string, (...args: readonly unknown[]) => Promise<unknown>>)[name]!(...args),
      [name, args] as const,
    )
    const answered = call.then(
      (answer) => answer as T,
      (error: Error): Unable => ({ unable: error.message.split('\n')[0]!.slice(0, 200) }),
    )
    return Promise.race([answered, late]).finally(() => clearTimeout(timer))
  }
}
