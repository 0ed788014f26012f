/** An element-wise operation. `atMost` is 1 if a <= b, else 0; `sign` is -1, 0 or 1, and 0 for NaN. */
export type Op = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'atMost' | 'sqrt' | 'abs' | 'sign'

/** The content of an expression. */
export type ExprNode =
  | { readonly kind: 'array'; readonly name: string }
  | { readonly kind: 'scalar'; readonly name: string }
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'call'; readonly op: Op; readonly operands: readonly Expr[] }

/** An expression or a plain number. */
export type ExprLike = Expr | number

/**
 * An element-wise expression: one number per element, built from arrays and scalars by name. Expressions are immutable
 * and may be used several times. An optimizer is written once as expressions; src/optim/expr compiles them for host
 * arrays (WebAssembly or an interpreter), ONNX graphs and WebGPU shaders.
 *
 * @example m <- m + (1 - beta1) (g - m)
 *
 *     const [m, g] = [array('m'), array('g')]
 *     const next = m.add(g.sub(m).mul(scalar('oneMinusBeta1')))
 */
export class Expr {
  readonly node: ExprNode

  /** Use `array`, `scalar` and `constant`. */
  constructor(node: ExprNode) {
    this.node = node
  }

  /** this + b */
  add(b: ExprLike): Expr {
    return call('add', this, b)
  }

  /** this - b */
  sub(b: ExprLike): Expr {
    return call('sub', this, b)
  }

  /** this * b */
  mul(b: ExprLike): Expr {
    return call('mul', this, b)
  }

  /** this / b */
  div(b: ExprLike): Expr {
    return call('div', this, b)
  }

  /** The smaller of this and b. */
  min(b: ExprLike): Expr {
    return call('min', this, b)
  }

  /** The larger of this and b. */
  max(b: ExprLike): Expr {
    return call('max', this, b)
  }

  /** 1 if this <= b, else 0. */
  atMost(b: ExprLike): Expr {
    return call('atMost', this, b)
  }

  /** The square root. */
  sqrt(): Expr {
    return call('sqrt', this)
  }

  /** The magnitude. */
  abs(): Expr {
    return call('abs', this)
  }

  /** -1, 0 or 1; 0 for NaN. */
  sign(): Expr {
    return call('sign', this)
  }

  /** 0 - this */
  negate(): Expr {
    return constant(0).sub(this)
  }
}

/** Creates the expression of an array that a formula reads. */
export const array = (name: string): Expr => new Expr({ kind: 'array', name })

/** Creates the expression of a number that is the same for all elements and is given at every evaluation. */
export const scalar = (name: string): Expr => new Expr({ kind: 'scalar', name })

/** Creates the expression of a fixed number. Needed as the first operand only: `constant(1).sub(x)`. */
export const constant = (value: number): Expr => new Expr({ kind: 'constant', value })

const call = (op: Op, ...operands: readonly ExprLike[]): Expr =>
  new Expr({ kind: 'call', op, operands: operands.map((x) => (typeof x === 'number' ? constant(x) : x)) })

/** Named element-wise results of arrays of one length and of scalars. */
export interface Formula {
  /** Names of the arrays that the formula reads, in the order of first use. */
  readonly arrays: readonly string[]
  /** Names of the scalars that the formula reads, in the order of first use. */
  readonly scalars: readonly string[]
  /** Results by array name. A result that has the name of an array which is read replaces that array's elements. */
  readonly outputs: Readonly<Record<string, Expr>>
  /** Expressions whose squares are summed over all elements in double precision, by name. */
  readonly squares: Readonly<Record<string, Expr>>
}

/**
 * Creates a formula. Arrays and scalars are found by walking the expressions.
 * @param squares expressions whose sum of squares is needed; for an expression of 0 and 1 the sum is a count
 */
export function formula(
  outputs: Readonly<Record<string, Expr>>,
  squares: Readonly<Record<string, Expr>> = {},
): Formula {
  const seen = new Set<Expr>()
  const arrays = new Set<string>()
  const scalars = new Set<string>()
  const visit = (expr: Expr): void => {
    if (seen.has(expr)) return
    seen.add(expr)
    const { node } = expr
    if (node.kind === 'array') arrays.add(node.name)
    else if (node.kind === 'scalar') scalars.add(node.name)
    else if (node.kind === 'call') for (const operand of node.operands) visit(operand)
  }
  for (const expr of [...Object.values(outputs), ...Object.values(squares)]) visit(expr)
  return { arrays: [...arrays], scalars: [...scalars], outputs, squares }
}

/** Replaces arrays and scalars of an expression, by name. Shared expressions remain shared through `done`. */
export function substitute(expr: Expr, by: Readonly<Record<string, Expr>>, done = new Map<Expr, Expr>()): Expr {
  const known = done.get(expr)
  if (known) return known
  const { node } = expr
  const result =
    node.kind === 'call'
      ? new Expr({ ...node, operands: node.operands.map((x) => substitute(x, by, done)) })
      : node.kind !== 'constant' && Object.hasOwn(by, node.name)
        ? by[node.name]!
        : expr
  done.set(expr, result)
  return result
}
