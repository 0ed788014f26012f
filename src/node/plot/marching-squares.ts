/** A point of a plot. */
export type Point = readonly [x: number, y: number]
/** A straight segment of a level line. */
export type Segment = readonly [Point, Point]

/**
 * Level line z = level of a function on a grid, by marching squares: one or two segments in each cell that it crosses,
 * interpolated along the edges of the cell. Cells with a corner that is not finite have none.
 * @param z rows of equal y, each as long as `xs`
 */
export function levelLine(
  xs: readonly number[],
  ys: readonly number[],
  z: readonly (readonly number[])[],
  level: number,
): Segment[] {
  const pieces: Segment[] = []
  for (let j = 0; j + 1 < ys.length; j++)
    for (let i = 0; i + 1 < xs.length; i++) {
      const corners = [
        [i, j],
        [i + 1, j],
        [i + 1, j + 1],
        [i, j + 1],
      ].map(([a, b]): Corner => [xs[a!]!, ys[b!]!, z[b!]![a!]! - level])
      if (corners.every(([, , height]) => Number.isFinite(height))) pieces.push(...crossing(corners))
    }
  return pieces
}

type Corner = readonly [x: number, y: number, height: number]

/** Segments through one cell, given its corners in order. */
function crossing(corners: readonly Corner[]): Segment[] {
  const ends = corners.flatMap((from, k) => {
    const to = corners[(k + 1) % 4]!
    return from[2] < 0 === to[2] < 0 ? [] : [between(from, to)]
  })
  const [a, b, c, d] = ends as [Point, Point, Point?, Point?]
  if (ends.length === 0) return []
  if (!c || !d) return [[a, b]]
  // A saddle: the sign of the mean at the center decides which corners are connected.
  const middle = corners.reduce((sum, [, , height]) => sum + height, 0)
  const joined = middle < 0 === corners[0]![2] < 0
  return joined
    ? [
        [a, b],
        [c, d],
      ]
    : [
        [d, a],
        [b, c],
      ]
}

function between([x0, y0, h0]: Corner, [x1, y1, h1]: Corner): Point {
  const t = h0 / (h0 - h1)
  return [x0 + t * (x1 - x0), y0 + t * (y1 - y0)]
}
