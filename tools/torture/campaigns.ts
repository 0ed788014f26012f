import type { Campaign } from './campaign.js'

/**
 * Limits of a model. A Sum of 300,000 operands, whose gradient graph has as many nodes, takes 3.5 s of CPU time on
 * a fast machine and 8 to 15 s on slow ones, in proportion to the number of nodes; a walk in proportion to its square
 * would take minutes. Its memory, 2 KiB per node, is 600 MiB.
 */
const modelLimits = { cpu: 45, memory: 1200, wall: 120 }

/** All campaigns, in the order in which they run. The code of a campaign is loaded when it is opened. */
export const campaigns = {
  models: {
    about: 'every operator, in every form, with hostile operands, attributes, names and structures',
    share: 5,
    limits: modelLimits,
    open: async (workplace) => (await import('./models/models.js')).open(workplace),
  },
  bytes: {
    about: 'models with changed bytes, and small files that make a decoder allocate much',
    share: 4,
    limits: modelLimits,
    open: async (workplace) => (await import('./models/bytes.js')).open(workplace),
  },
  data: {
    about: 'CSV, JSONL, IDX, CIFAR, token, text, parquet and image files and tokenizers with changed bytes',
    share: 3,
    limits: { cpu: 5, memory: 600, wall: 120 },
    open: async (workplace) => (await import('./files/data.js')).open(workplace),
  },
  recipes: {
    about: 'recipes with changed values, keys and bytes, and JSON that is deep or long',
    share: 1,
    limits: { cpu: 5, memory: 600, wall: 120 },
    open: async () => (await import('./files/recipes.js')).open(),
  },
  checkpoints: {
    about: 'a checkpoint with one byte or more changed is refused, and changes nothing',
    share: 1,
    limits: { cpu: 5, memory: 600, wall: 120 },
    open: async () => (await import('./files/checkpoints.js')).open(),
  },
  kills: {
    about: 'train, export and data prepare killed at random moments, then resumed: the same bytes, nothing left over',
    share: 4,
    limits: { cpu: 60, memory: 600, wall: 600 },
    open: async (workplace) => (await import('./runs/kills.js')).open(workplace),
  },
  disks: {
    about:
      'commands on full and read-only disks, on slow ones with a kill, with limited file sizes and a full standard output',
    share: 2,
    limits: { cpu: 60, memory: 600, wall: 600 },
    open: async (workplace) => (await import('./runs/disks.js')).open(workplace),
  },
  nonfinite: {
    about:
      'NaN, Infinity and huge numbers in weights, inputs, targets and loss weights: a typed error, parameters stay finite',
    share: 1,
    limits: { cpu: 20, memory: 600, wall: 300 },
    open: async () => (await import('./runs/nonfinite.js')).open(),
  },
  threads: {
    about:
      'the worker thread of node() ended at a random moment: a typed error, and a new runtime resumes to the same weights',
    share: 1,
    limits: { cpu: 60, memory: 600, wall: 300 },
    open: async () => (await import('./runs/threads.js')).open(),
  },
  soak: {
    about: 'many small steps, runtimes and models: memory, files, threads and handles stay level',
    share: 2,
    limits: { cpu: 3600, memory: 1000, wall: 7200 },
    open: async (workplace) => (await import('./runs/soak.js')).open(workplace),
  },
} satisfies Readonly<Record<string, Campaign>>

export type CampaignName = keyof typeof campaigns
export const campaignNames = Object.keys(campaigns) as CampaignName[]
