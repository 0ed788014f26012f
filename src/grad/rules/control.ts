import type { control } from '../../op/definitions/control.js'
import type { ControlRules } from '../rule.js'
import { ifRule } from './control/if.js'
import { loopRule } from './control/loop.js'
import { scanRule } from './control/scan.js'

export const controlRules = { If: ifRule, Loop: loopRule, Scan: scanRule } satisfies ControlRules<typeof control>
