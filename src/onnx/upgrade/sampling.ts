import type { Upgrade, Upgrades } from './upgrade.js'

const modes: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' }

/** The modes lost the "bi" that only images have. */
const modesOfAnyRank: Upgrade = (node) => {
  const mode = String(node.attributes.mode ?? 'bilinear')
  return { ...node, attributes: { ...node.attributes, mode: modes[mode] ?? mode } }
}

/** Regions were not moved by half a pixel; version 16 brought the choice. */
const wholePixels: Upgrade = (node) => ({
  ...node,
  attributes: { ...node.attributes, coordinate_transformation_mode: 'output_half_pixel' },
})

export const samplingUpgrades: Upgrades = {
  GridSample: { 20: modesOfAnyRank },
  RoiAlign: { 16: wholePixels },
}
