import type { AnyLowering } from '../lowering.js'
import { type Bounds, forwards } from './slicing.js'
import { moving } from './through.js'

/** Operators that move elements, and have no kernel for truth values, bytes and, some of them, int32. */
export const moves: Readonly<Record<string, AnyLowering>> = {
  Concat: moving('Concat', 'all', false),
  GatherElements: moving('GatherElements', [0], true),
  GatherND: moving('GatherND', [0], false),
  Pad: moving('Pad', [0, 2], false),
  ScatterElements: moving('ScatterElements', [0, 2], false),
  ScatterND: moving('ScatterND', [0, 2], false),
  Slice: moving('Slice', [0], true, (inputs) => forwards(inputs as Bounds)),
  Split: moving('Split', [0], false),
  Squeeze: moving('Squeeze', [0], false),
  Tile: moving('Tile', [0], false),
  Transpose: moving('Transpose', [0], false),
  Trilu: moving('Trilu', [0], false),
}
