/**
 * Rounds that are written out because that is faster than looping, and those that can be where looping does not work; and
 * the nodes they may make.
 */
const FEW_ROUNDS = 4
const MOST_ROUNDS = 32
const MOST_NODES = 1024

/** Whether so many rounds of so many nodes are better written out. */
export const isShort = (rounds: number, nodes: number): boolean => rounds <= FEW_ROUNDS && rounds * nodes <= MOST_NODES

/** Whether they can be. */
export const canBeWritten = (rounds: number, nodes: number): boolean =>
  rounds <= MOST_ROUNDS && rounds * nodes <= MOST_NODES
