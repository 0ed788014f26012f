/** Rounds that are written out rather than looped over, and the nodes they may make. */
const MOST_ROUNDS = 16
const MOST_NODES = 512

/** Whether so many rounds of so many nodes are better written out. */
export const isShort = (rounds: number, nodes: number): boolean => rounds <= MOST_ROUNDS && rounds * nodes <= MOST_NODES
