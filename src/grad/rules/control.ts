import type { control } from '../../op/definitions/control.js'
import type { ControlRules } from '../rule.js'
import { branches } from './control/branches.js'
import { loop } from './control/loop.js'
import { scan } from './control/scan.js'

export const controlRules = { If: branches, Loop: loop, Scan: scan } satisfies ControlRules<typeof control>
