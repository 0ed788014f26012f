import { type Upgrades, withoutAttributes } from './upgrade.js'

/** Up to version 6 an attribute said whether all steps are wanted as output; now naming the output says it. */
const outputSequence = { 7: withoutAttributes('output_sequence') }

export const recurrentUpgrades: Upgrades = { RNN: outputSequence, GRU: outputSequence, LSTM: outputSequence }
