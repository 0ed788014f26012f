import type { Campaign } from './campaign.js'
import { checkpoints } from './files/checkpoints.js'
import { data } from './files/data.js'
import { recipes } from './files/recipes.js'
import { bytes } from './models/bytes.js'
import { models } from './models/models.js'
import { disks } from './runs/disks.js'
import { kills } from './runs/kills.js'
import { nonfinite } from './runs/nonfinite.js'
import { soak } from './runs/soak.js'
import { threads } from './runs/threads.js'

/** All campaigns, in the order in which they run. */
export const campaigns = {
  models,
  bytes,
  data,
  recipes,
  checkpoints,
  kills,
  disks,
  nonfinite,
  threads,
  soak,
} satisfies Readonly<Record<string, Campaign>>

export type CampaignName = keyof typeof campaigns
export const campaignNames = Object.keys(campaigns) as CampaignName[]
