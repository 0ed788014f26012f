import { requirePackage } from './runtime/packages.js'

/** Loads echarts, an optional peer dependency, with the first plot. Throws `runtime` if it is missing. */
export const loadEcharts = () => requirePackage<typeof import('echarts')>('echarts', 'a plot')
