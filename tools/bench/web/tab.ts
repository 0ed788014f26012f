import type { BrowserContext, Page } from 'playwright-core'
import type { Contestant } from '../contender.js'
import type { Ready, Turn, Unable } from '../protocol.js'

/** One library in a tab of its own. */
export interface TabCommand {
  readonly name: string
  readonly library: 'ours' | 'tfjs' | 'jax'
  /** The first of them that trains the model is taken. */
  readonly backends: readonly string[]
}

/** A page that trains one model when it is told to. */
export class Tab implements Contestant {
  readonly name: string
  private readonly command: TabCommand
  private readonly browser: BrowserContext
  private readonly url: string
  private readonly problem: string
  private readonly patience: number
  private page: Page | undefined

  /** @param problem the folder below `url` that `writeProblem` wrote; @param patience seconds that an answer may take */
  constructor(command: TabCommand, browser: BrowserContext, url: string, problem: string, patience: number) {
    this.name = command.name
    this.command = command
    this.browser = browser
    this.url = url
    this.problem = problem
    this.patience = patience
  }

  async start(): Promise<Ready | Unable> {
    this.page = await this.browser.newPage()
    await this.page.goto(this.url)
    await this.page.waitForFunction('globalThis.begin !== undefined')
    const { library, backends } = this.command
    return this.answer<Ready>('begin', library, this.problem, backends)
  }

  async run(steps: number): Promise<Turn | Unable> {
    await this.page!.bringToFront()
    return this.answer<Turn>('turn', steps)
  }

  async stop(): Promise<void> {
    await this.page?.close()
  }

  private async answer<T>(name: string, ...args: readonly unknown[]): Promise<T | Unable> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<Unable>((resolve) => {
      timer = setTimeout(() => resolve({ unable: `no answer within ${this.patience} s` }), 1000 * this.patience)
    })
    const call = this.page!.evaluate(
      ([name, args]) =>
        (globalThis as unknown as Record<string, (...args: readonly unknown[]) => Promise<unknown>>)[name]!(...args),
      [name, args] as const,
    )
    const asked = call.then(
      (answer) => answer as T,
      (error: Error): Unable => ({ unable: error.message.split('\n')[0]!.slice(0, 200) }),
    )
    return Promise.race([asked, late]).finally(() => clearTimeout(timer))
  }
}
