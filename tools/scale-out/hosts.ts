import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Network namespaces that serve as machines, each with its own name, address and ssh server. */
export interface Hosts {
  readonly addresses: readonly string[]
  /** Options of ssh for a connection to another host. */
  readonly sshOptions: readonly string[]
  /** Returns program and arguments that run a command on the first host. */
  onFirst(command: readonly string[]): readonly [program: string, args: readonly string[]]
  /** Sets the rate of each host's link in each direction, in Mbit/s; null for that of this machine. */
  setRate(rate: number | null): void
  /** Connects a host, or disconnects it from the others as a cut cable does. */
  setConnected(host: number, connected: boolean): void
  /** Processes of Node on a host. */
  nodesOf(host: number): number[]
  /** A folder for the files of a job, removed with the hosts. */
  readonly folder: string
  remove(): void
}

const run = (program: string, ...args: readonly string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

const bridge = 'ire-bridge'
const namespaceOf = (host: number) => `ire-host${host}`
/** The end of a host's cable that is in the bridge. */
const portOf = (host: number) => `ire-port${host}`
/** The other end of a cable with a delay, until the host has it as eth0. */
const endOf = (host: number) => `ire-end${host}`

/**
 * Creates `count` hosts on one bridge. Needs root, and Debian's iproute2, openssh-client and openssh-server, and python3
 * for a delay.
 * @param roundTrip seconds that a message to another host and its answer take, besides the time in this computer's network
 */
export async function createHosts(count: number, roundTrip = 0): Promise<Hosts> {
  const numbers = Array.from({ length: count }, (_, i) => i)
  const folder = mkdtempSync(join(tmpdir(), 'ire-hosts-'))
  const key = join(folder, 'key')
  run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key)
  writeFileSync(join(folder, 'authorized'), readFileSync(`${key}.pub`))
  mkdirSync('/run/sshd', { recursive: true })
  removeHosts(count)
  run('ip', 'link', 'add', bridge, 'type', 'bridge')
  run('ip', 'link', 'set', bridge, 'up')
  // A message and its answer pass four cables.
  const cables = roundTrip > 0 ? await createCables(count, roundTrip / 4) : undefined
  for (const host of numbers) {
    const [namespace, port] = [namespaceOf(host), portOf(host)]
    run('ip', 'netns', 'add', namespace)
    if (cables) run('ip', 'link', 'set', endOf(host), 'netns', namespace, 'name', 'eth0')
    else run('ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace)
    run('ip', 'link', 'set', port, 'master', bridge, 'up')
    run('ip', '-n', namespace, 'addr', 'add', `${addressOf(host)}/24`, 'dev', 'eth0')
    run('ip', '-n', namespace, 'link', 'set', 'eth0', 'up')
    run('ip', '-n', namespace, 'link', 'set', 'lo', 'up')
    const options = [
      `Port 22`,
      `HostKey ${key}`,
      `AuthorizedKeysFile ${join(folder, 'authorized')}`,
      'StrictModes no',
      'UsePAM no',
    ]
    const settings = ['PermitRootLogin yes', `PidFile ${join(folder, `sshd${host}`)}`]
    const config = join(folder, `config${host}`)
    writeFileSync(config, [...options, ...settings, ''].join('\n'))
    const named = `hostname host${host} && exec /usr/sbin/sshd -D -f ${config}`
    spawn('ip', ['netns', 'exec', namespace, 'unshare', '--uts', 'sh', '-c', named], { stdio: 'ignore' }).unref()
  }
  const sshOptions = [
    '-i',
    key,
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'UserKnownHostsFile=/dev/null',
    '-o',
    'LogLevel=ERROR',
  ]
  const onFirst = (command: readonly string[]) =>
    [
      'ip',
      [
        'netns',
        'exec',
        namespaceOf(0),
        'unshare',
        '--uts',
        'sh',
        '-c',
        'hostname host0 && exec "$@"',
        'sh',
        ...command,
      ],
    ] as const
  for (const host of numbers) {
    const [program, args] = onFirst(['ssh', ...sshOptions, '-o', 'ConnectionAttempts=20', addressOf(host), 'true'])
    run(program, ...args)
  }
  return {
    addresses: numbers.map(addressOf),
    sshOptions,
    onFirst,
    setRate(rate) {
      const kind = rate === null ? ['pfifo'] : ['tbf', 'rate', `${rate}mbit`, 'burst', '512kb', 'latency', '200ms']
      for (const host of numbers) {
        run('tc', '-n', namespaceOf(host), 'qdisc', 'replace', 'dev', 'eth0', 'root', ...kind)
        run('tc', 'qdisc', 'replace', 'dev', portOf(host), 'root', ...kind)
      }
    },
    setConnected: (host, connected) => void run('ip', 'link', 'set', portOf(host), connected ? 'up' : 'down'),
    nodesOf: (host) => processesIn(namespaceOf(host)).filter(isNode),
    folder,
    remove() {
      cables?.kill('SIGKILL')
      removeHosts(count)
      rmSync(folder, { recursive: true })
    },
  }
}

/** Creates a cable from each host to its port, on which messages take some seconds. */
async function createCables(count: number, seconds: number): Promise<ChildProcess> {
  const names = Array.from({ length: count }, (_, host) => [endOf(host), portOf(host)]).flat()
  const script = fileURLToPath(new URL('delay.py', import.meta.url))
  const child = spawn('python3', [script, String(seconds), ...names], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`delay.py ended with exit code ${code}`)
  })
  await Promise.race([once(child.stdout, 'data'), ended])
  ended.catch(() => {}) // It is killed in the end.
  return child
}

const addressOf = (host: number) => `10.77.0.${host + 1}`

function removeHosts(count: number): void {
  const ignore = (program: string, ...args: readonly string[]) => {
    try {
      run(program, ...args)
    } catch {
      // It was not there.
    }
  }
  for (let host = 0; host < count; host++) {
    for (const pid of processesIn(namespaceOf(host))) process.kill(pid, 'SIGKILL')
    ignore('ip', 'netns', 'del', namespaceOf(host))
    ignore('ip', 'link', 'del', portOf(host))
  }
  ignore('ip', 'link', 'del', bridge)
}

/** Processes in a network namespace; none if there is no such namespace. */
function processesIn(namespace: string): number[] {
  try {
    return run('ip', 'netns', 'pids', namespace).split(/\s+/).filter(Boolean).map(Number)
  } catch {
    return []
  }
}

function isNode(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`) === realpathSync(process.execPath)
  } catch {
    return false // It has ended.
  }
}
