/** Metrics that are better when smaller, also as `<task>/<metric>`. */
const smallerIsBetter = /(^|\/)(loss|mae|rmse|mse|perplexity|cer|wer|ece)$/

/** Whether smaller or larger values of a metric are better, unless an option sets it. */
export const defaultMode = (metric: string): 'min' | 'max' => (smallerIsBetter.test(metric) ? 'min' : 'max')
